"""Answers in words, for people to read; answers are numbered as they were shown."""

from collections.abc import Sequence

from app.domain.answers import (
    THUMB_REASONS,
    Body,
    EditBody,
    PickBody,
    RankBody,
    RateBody,
    ThumbsBody,
    WriteBody,
)
from app.domain.ranking import Ranking

_HOW = {1: "negligibly ", 2: "slightly ", 3: "clearly ", 4: "strongly "}


def in_words(body: Body, order: Sequence[int]) -> str:
    """Say what was answered; `order` holds the canonical positions as they were shown."""
    match body:
        case PickBody():
            return _pick(body, order)
        case RankBody():
            return _rank(body, order)
        case RateBody():
            rated = body.ratings.items()
            return "; ".join(
                f"{name} {' · '.join(str(given[at]) for at in order)}" for name, given in rated
            )
        case ThumbsBody():
            offered = THUMB_REASONS.get(body.thumb, {})
            thumb = "Good" if body.thumb == "up" else "Bad"
            return ", ".join([thumb, *(offered.get(one, one).lower() for one in body.reasons)])
        case WriteBody():
            return f"Written: {body.text}"
        case EditBody():
            return f"Better: {body.text}"


def _rank(body: RankBody, order: Sequence[int]) -> str:
    if body.ranking is None:
        return "Cannot be ranked"
    groups = Ranking(body.ranking).groups
    return " > ".join(" = ".join(str(order.index(one) + 1) for one in group) for group in groups)


def _pick(body: PickBody, order: Sequence[int]) -> str:
    bad = "both bad" if body.both_bad else ""
    if body.preferred is None:
        return bad.capitalize()
    if body.preferred == "tie":
        words = "About the same"
    else:
        number = order.index("ab".index(body.preferred)) + 1
        words = f"{number} is {_HOW.get(body.strength or 0, '')}better"
    return f"{words}, {bad}" if bad else words

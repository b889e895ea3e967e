"""Answers in words, for people to read; answers are numbered as they were shown."""

from collections.abc import Mapping, Sequence

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


NUMBERS, LETTERS = "123456789", "ABCDEFGHI"


def in_words(body: Body, order: Sequence[int], names: str = NUMBERS) -> str:
    """Say what was answered; `order` holds the canonical positions as they were shown."""
    called = dict(zip(order, names, strict=False))
    match body:
        case PickBody():
            return _pick(body, called)
        case RankBody():
            return _rank(body, called)
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


def _rank(body: RankBody, called: Mapping[int, str]) -> str:
    if body.ranking is None:
        return "Cannot be ranked"
    groups = Ranking(body.ranking).groups
    return " > ".join(" = ".join(called[one] for one in group) for group in groups)


def _pick(body: PickBody, called: Mapping[int, str]) -> str:
    bad = "both bad" if body.both_bad else ""
    if body.preferred is None:
        return bad.capitalize()
    if body.preferred == "tie":
        words = "About the same"
    else:
        name = called["ab".index(body.preferred)]
        words = f"{name} is {_HOW.get(body.strength or 0, '')}better"
    return f"{words}, {bad}" if bad else words

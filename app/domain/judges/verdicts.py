"""From an AI judge's replies to a judgment: each reply is read, and both orders are combined.

Nothing is guessed: a reply without a readable verdict raises Invalid with the reason. Ratings and
thumbs, which are about single responses, are in `single_verdicts`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.judges import replies
from app.domain.judges.prompts import LETTERS, SCORE_MOST
from app.domain.judgment_kinds import JudgmentKind
from app.domain.ranking import Ranking
from app.errors import Invalid

_TIED = {"tie", "equal"}


@dataclass(frozen=True, slots=True)
class ShownVerdict:
    """What a judge said of responses in the order shown: `ranking` is by place in that order."""

    ranking: Ranking
    strength: int | None = None
    explanation: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the reply as plain JSON values."""
        return {
            "ranks": list(self.ranking.ranks),
            "strength": self.strength,
            "explanation": self.explanation,
        }


@dataclass(frozen=True, slots=True)
class ShownScore:
    """A judge's score of one response, 1 to 10."""

    score: int
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class CombinedVerdict:
    """The verdict over all orders, by canonical position.

    A pick on which the orders disagree is a tie, and then not `is_consistent`. Rankings are
    averaged, and are consistent if all orders give the same.
    """

    ranking: Ranking
    strength: int | None
    is_consistent: bool

    def to_columns(self) -> dict[str, Any]:
        """Return the verdict as columns of an AI judgment."""
        return {"ranking": list(self.ranking.ranks), "strength": self.strength}


def orders(k: int) -> tuple[tuple[int, ...], ...]:
    """Return the two orders in which a judge is shown k responses: one, and its reverse."""
    return tuple(range(k)), tuple(reversed(range(k)))


def read(reply: str, kind: JudgmentKind, k: int, *, strengths: Sequence[int] = ()) -> ShownVerdict:
    """Read a judge's reply about k responses.

    The last JSON object with a verdict counts, because an explanation may quote a response.

    Raises:
        Invalid: there is no verdict in it. A tie is read even where none was offered.
    """
    if kind == JudgmentKind.RANK:
        content = replies.last_object(reply, "ranking")
        return ShownVerdict(_ranking(content["ranking"], k), None, replies.explanation(content))
    content = replies.last_object(reply, "verdict")
    ranking = _picked(content["verdict"])
    strength = content.get("strength")
    has_strength = isinstance(strength, int) and strength in strengths and ranking.ranks != (1, 1)
    return ShownVerdict(ranking, strength if has_strength else None, replies.explanation(content))


def read_score(reply: str) -> ShownScore:
    """Read a judge's score of one response.

    Raises:
        Invalid: there is no whole number from 1 to 10 in it.
    """
    content = replies.last_object(reply, "score")
    score = replies.whole(content["score"])
    if isinstance(score, bool) or not isinstance(score, int) or not 1 <= score <= SCORE_MOST:
        raise Invalid(f"score must be a whole number from 1 to {SCORE_MOST}, not {score!r}")
    return ShownScore(score, replies.explanation(content))


def combined(shown: Sequence[tuple[Sequence[int], ShownVerdict]]) -> CombinedVerdict:
    """Combine the verdicts of all orders; each order lists canonical positions as shown."""
    canonical = [_canonical(order, verdict.ranking) for order, verdict in shown]
    is_consistent = len({ranking.ranks for ranking in canonical}) == 1
    if is_consistent:
        strengths = [v.strength for _, v in shown if v.strength is not None]
        # The mean, rounded down: a judge that wavers is not surer than it says.
        strength = sum(strengths) // len(strengths) if strengths else None
        return CombinedVerdict(canonical[0], strength, is_consistent=True)
    if len(canonical[0].ranks) == 2:
        return CombinedVerdict(Ranking((1, 1)), None, is_consistent=False)
    summed = [sum(ranks) for ranks in zip(*(r.ranks for r in canonical), strict=True)]
    return CombinedVerdict(Ranking.of_positions(summed), None, is_consistent=False)


def _canonical(order: Sequence[int], ranking: Ranking) -> Ranking:
    ranks = [0] * len(order)
    for position, rank in zip(order, ranking.ranks, strict=True):
        ranks[position] = rank
    return Ranking(tuple(ranks))


def _picked(value: object) -> Ranking:
    said = str(value).strip().lower().removeprefix("response ").strip('"[]. ')
    if said == "a":
        return Ranking((1, 2))
    if said == "b":
        return Ranking((2, 1))
    if said in _TIED:
        return Ranking((1, 1))
    raise Invalid(f"verdict must be A, B or tie, not {replies.short(value)}")


def _ranking(value: object, k: int) -> Ranking:
    letters = LETTERS[:k]
    if isinstance(value, str):
        value = [re.split(r"\s*=\s*", place) for place in re.split(r"\s*>\s*", value.strip())]
    if not isinstance(value, list):
        raise Invalid(f"ranking must be a list of places, not {replies.short(value)}")
    places = [place if isinstance(place, list) else [place] for place in value]
    return Ranking.of_groups([[str(name).strip() for name in place] for place in places], letters)

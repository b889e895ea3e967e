"""Practice: whether an answer is the settled one, and how a run through the practice set stands.

A run holds each practice comparison once; it may be repeated. What is practised has an answer that
can be right or wrong, so writing and editing are not practised. Everything speaks of canonical
positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from app.domain.answers import Body, PickBody, RankBody, RateBody, ThumbsBody
from app.domain.ranking import Ranking
from app.errors import Invalid

PRACTISED = ("pick", "rank", "rate", "thumbs")
SAME_PAIRS = 0.75
"""Share of a ranking's pairs that must be in the settled order, beside the same first place."""
STEPS_OFF = 1
"""How far a rating may be from the settled one."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far someone is in a run; `pass_share` is None where nobody has to pass."""

    run: int
    total: int
    answered: int
    right: int
    pass_share: float | None = None
    is_passed: bool = False

    @property
    def left(self) -> int:
        """Comparisons of this run that are not answered yet."""
        return self.total - self.answered

    @property
    def is_complete(self) -> bool:
        """True when there is something to practise and all of it is answered."""
        return self.total > 0 and self.left <= 0

    @property
    def needed(self) -> int | None:
        """How many must be right to pass."""
        if self.pass_share is None:
            return None
        return ceil(self.pass_share * self.total - 1e-9)  # 0.7 of 10 is 7, also in binary

    @property
    def reaches_the_mark(self) -> bool:
        """True when this run passes: complete, and right often enough."""
        return self.is_complete and self.right >= (self.needed or 0)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Say how the run stands, and what comes next."""
        if not self.total:
            return ("This project has nothing to practise.",)
        if not self.is_complete:
            done = f"{self.answered:,} of {self.total:,} done, {self.right:,} right."
            mark = f"The pass mark is {self.needed:,} of {self.total:,} right."
            return (done,) if self.needed is None else (done, mark)
        return (f"You had {self.right:,} of {self.total:,} right.", *self._verdict())

    def _verdict(self) -> tuple[str, ...]:
        if self.needed is None:
            return ()
        if self.reaches_the_mark:
            return (f"The pass mark is {self.needed:,}: you have passed.",)
        if self.is_passed:
            return (f"The pass mark is {self.needed:,}; you passed it before.",)
        return (f"The pass mark is {self.needed:,}. Read the reasons and practise again.",)


def expected(kind: str, answer: Mapping[str, Any]) -> Body:
    """Return a settled answer as a body.

    Raises:
        Invalid: the kind is not practised, or the answer says nothing of this kind.
    """
    if kind not in PRACTISED:
        raise Invalid(f"what is practised is a {', '.join(PRACTISED)}, not a {kind}")
    both_bad = bool(answer.get("both_bad"))
    if kind == "pick" and (answer.get("preferred") or both_bad):
        return PickBody(answer.get("preferred"), None, both_bad)
    if kind == "rank" and (answer.get("ranking") or both_bad):
        ranking = answer.get("ranking")
        return RankBody(tuple(ranking) if ranking else None, both_bad and not ranking)
    if kind == "rate" and answer.get("ratings"):
        return RateBody({name: tuple(given) for name, given in answer["ratings"].items()})
    if kind == "thumbs" and answer.get("thumb"):
        return ThumbsBody(answer["thumb"], tuple(answer.get("reasons") or ()))
    raise Invalid(f"the settled answer of a {kind} is missing in {dict(answer)}")


def is_right(settled: Body, given: Body) -> bool:
    """Tell whether an answer is the settled one.

    A pick prefers the same side; strength and *both bad* beside it are a matter of degree. A
    ranking has the same first place and at least three quarters of its pairs in the same order. No
    rating is more than one step off. A thumb points the same way, whatever the reasons.
    """
    match settled, given:
        case PickBody(), PickBody():
            if settled.preferred is None:
                return given.both_bad and given.preferred is None
            return given.preferred == settled.preferred
        case RankBody(), RankBody():
            return _same_order(settled, given)
        case RateBody(), RateBody():
            return _close(settled, given)
        case ThumbsBody(), ThumbsBody():
            return settled.thumb == given.thumb
        case _:
            raise Invalid(f"a {given.kind} cannot be compared with a {settled.kind}")


def _same_order(settled: RankBody, given: RankBody) -> bool:
    if settled.ranking is None or given.ranking is None:
        return settled.ranking is given.ranking
    first, second = Ranking(settled.ranking), Ranking(given.ranking)
    same = sum(a == b for a, b in zip(first.signs, second.signs, strict=True))
    return first.first == second.first and same >= SAME_PAIRS * len(first.signs)


def _close(settled: RateBody, given: RateBody) -> bool:
    # A criterion that has gone out of use since is not asked for any more.
    asked = [name for name in settled.ratings if name in given.ratings]
    return all(
        abs(a - b) <= STEPS_OFF
        for name in asked
        for a, b in zip(settled.ratings[name], given.ratings[name], strict=True)
    )

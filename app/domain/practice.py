"""Practice: whether a judgment is right, and a labeler's standing in a run of the practice set.

A run contains each practice comparison once, and can be repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from app.domain.judgment_kinds import KINDS, JudgmentBody, kind_named
from app.errors import Invalid

PRACTICED = tuple(name for name, kind in KINDS.items() if kind.has_right_answer)


@dataclass(frozen=True, slots=True)
class Standing:
    """A labeler's progress in a run; `pass_share` is None if the project has no pass mark."""

    run: int
    total: int
    answered: int
    right: int
    pass_share: float | None = None
    is_passed: bool = False

    @property
    def left(self) -> int:
        """The number of comparisons in this run that are not judged yet."""
        return self.total - self.answered

    @property
    def is_complete(self) -> bool:
        """Whether the practice set is not empty and every comparison in it is judged."""
        return self.total > 0 and self.left <= 0

    @property
    def needed(self) -> int | None:
        """The number of right judgments needed to pass."""
        if self.pass_share is None:
            return None
        return ceil(self.pass_share * self.total - 1e-9)  # 0.7 of 10 is 7, also in binary

    @property
    def reaches_the_mark(self) -> bool:
        """Whether this run passes: it is complete, with enough right judgments."""
        return self.is_complete and self.right >= (self.needed or 0)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Sentences that state the progress and the next step."""
        if not self.total:
            return ("This project has nothing to practice.",)
        if not self.is_complete:
            done = f"{self.answered:,} of {self.total:,} done, {self.right:,} right."
            if self.needed is None:
                return (done,)
            return (done, f"The pass mark is {self.needed:,} of {self.total:,} right.")
        return (f"You had {self.right:,} of {self.total:,} right.", *self._verdict())

    def _verdict(self) -> tuple[str, ...]:
        if self.needed is None:
            return ()
        if self.reaches_the_mark:
            return (f"The pass mark is {self.needed:,}: you have passed.",)
        if self.is_passed:
            return (f"The pass mark is {self.needed:,}; you passed it before.",)
        return (f"The pass mark is {self.needed:,}. Read the reasons and practice again.",)


def expected(kind: str, answer: Mapping[str, Any]) -> JudgmentBody:
    """Return a settled answer as a body.

    Raises:
        Invalid: the kind is not practiced, or the answer has no value of this kind.
    """
    name = kind_named(kind)
    if name not in PRACTICED:
        raise Invalid(f"{KINDS[name].noun} cannot be practiced, as none is right or wrong")
    body = KINDS[name].body.from_settled(answer)
    if body is None:
        raise Invalid(f"the settled answer of {KINDS[name].noun} is missing")
    return body


def is_right(settled: JudgmentBody, given: JudgmentBody) -> bool:
    """Return whether a judgment agrees with the settled answer, as its kind defines that.

    Raises:
        Invalid: the two are of different kinds, or of one that is not practiced.
    """
    if given.kind != settled.kind or settled.kind not in PRACTICED:
        raise Invalid(
            f"{KINDS[given.kind].noun} cannot be compared with {KINDS[settled.kind].noun}"
        )
    return given.is_right(settled)

"""Pick on the web side: a choice on a scale between two responses."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from app.domain.judgment_kinds import STRENGTH_NAMES, JudgmentKind, PickBody
from app.domain.ranking import Side
from app.errors import Invalid
from app.web.judgment_kinds.kind import (
    JudgmentForm,
    JudgmentIn,
    JudgmentOut,
    PageKind,
    SettlementForm,
    quoted,
)

_STRENGTH_WORDS = {1: "negligibly ", 2: "slightly ", 3: "clearly ", 4: "strongly "}
_SIDE = re.compile(r"([ab])([1-4]?)")


class PickIn(JudgmentIn):
    """The better of two by canonical position: `a` is position 0."""

    kind: Literal["pick"]
    preferred: Literal["a", "b", "tie"] | None = None
    strength: Annotated[int, Field(ge=1, le=4)] | None = None
    both_bad: bool = False


class PickOut(JudgmentOut):
    """A pick as it was given."""

    kind: Literal["pick"] = "pick"
    preferred: str | None
    strength: int | None
    both_bad: bool

    def fill(self, form: JudgmentForm) -> None:
        """Fill in the form with this pick."""
        form.choice = f"{self.preferred or ''}{self.strength or ''}"
        form.both_bad = "1" if self.both_bad else ""

    def words(self, names: Mapping[int, str]) -> str:
        """Describe the pick."""
        bad = "both bad" if self.both_bad else ""
        if self.preferred is None:
            return bad.capitalize()
        if self.preferred == "tie":
            words = "About the same"
        else:
            name = names["ab".index(self.preferred)]
            words = f"{name} is {_STRENGTH_WORDS.get(self.strength or 0, '')}better"
        return f"{words}, {bad}" if bad else words


@dataclass(frozen=True, slots=True)
class ScaleStep:
    """One step of the scale between two responses: its value in the form, and its label."""

    value: str
    label: str
    place: int | None  # on screen, 1 or 2; None for about the same
    strength: int | None = None


def scale(
    positions: Sequence[int], strengths: Sequence[int], *, allow_tie: bool, chosen: str = ""
) -> list[ScaleStep]:
    """Return the scale between two responses, in the order shown.

    A side that was chosen without a strength, in a project that asks for strengths, is a step, too.
    """

    def step(letter: str, place: int, strength: int | None) -> ScaleStep:
        if strength is None:
            return ScaleStep(letter, f"{place} is better", place)
        label = f"{STRENGTH_NAMES[strength]} {place}"
        return ScaleStep(f"{letter}{strength}", label, place, strength)

    def side(letter: str, place: int) -> list[ScaleStep]:
        plain = [step(letter, place, None)] if not strengths or chosen == letter else []
        return [step(letter, place, strength) for strength in strengths] + plain

    first, second = ("ab"[position] for position in positions)
    middle = [ScaleStep("tie", "About the same", None)] if allow_tie else []
    return side(first, 1)[::-1] + middle + side(second, 2)


def parse(form: JudgmentForm) -> PickBody:
    """Read the choice, which may be empty beside *both bad*."""
    both_bad = form.is_both_bad()
    if form.choice in {"", "tie"}:
        return PickBody(form.choice or None, None, both_bad)
    match = _SIDE.fullmatch(form.choice)
    if match is None:
        raise Invalid(
            "the choice must be a or b, with a strength of 1 to 4 or without, or tie; "
            f"not {quoted(form.choice)}"
        )
    side, strength = match.groups()
    return PickBody(side, int(strength) if strength else None, both_bad)


def settle(form: SettlementForm) -> PickBody:
    """Read a settlement."""
    if form.preferred == "bad":
        return PickBody(both_bad=True)
    if form.preferred not in {"", *Side}:
        raise Invalid(f"the answer must be a, b, tie or bad, not {quoted(form.preferred)}")
    return PickBody(form.preferred or None)


PICK = PageKind(
    JudgmentKind.PICK,
    parse,
    question="Which response is better?",
    task="Choose the better response.",
    task_keys=("1", "2"),
    task_by_keys="Click it or press",
    verb="compare",
    has_scale=True,
    settle=settle,
    settled_format=(
        'The answer is `"a"` or `"b"`, by their order in the file, `"tie"` or `"both_bad"`.'
    ),
)

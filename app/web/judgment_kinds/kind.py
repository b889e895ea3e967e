"""What the web side knows of every kind of judgment: its form, its JSON and its words.

The same form opens empty, with what was judged before, or with what was refused, so that nothing
typed is lost. Its fields are therefore kept as text until `parse` reads them, and every value that
the page itself would not send is refused. What a project allows is checked in the domain.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from app.domain.judgment_kinds import KINDS, JudgmentBody, JudgmentKind, OrderBody
from app.domain.ranking import MOST
from app.errors import Invalid

NUMBERS, LETTERS = "123456789", "ABCDEFGHI"
"""The names of responses in the order shown, and of completions in canonical order."""

_QUOTED_MOST = 80  # characters of a refused value that a message repeats
_TICKS = {"": False, "1": True, "on": True, "true": True}


class JudgmentForm(BaseModel):
    """A judgment as a plain form sends it."""

    key: str = ""
    assignment_id: str = ""
    lease_token: str = ""
    instruction_version: str = ""  # the one that the form was made with
    kind: str = ""
    choice: str = ""  # the side and its strength: "a", "a3", "tie"
    ranks: list[str] = []  # "position:rank"
    both_bad: str = ""
    criteria: list[str] = []  # the names that the form was made with
    ratings: list[str] = []  # "criterion's index:position:rating"
    thumb: str = ""
    reasons: list[str] = []
    text: str = ""
    flags: list[str] = []
    comment: str = ""

    def is_both_bad(self) -> bool:
        """Return whether *both bad* (or *cannot be ranked*) is ticked."""
        if self.both_bad not in _TICKS:
            raise Invalid(f"both_bad must be 1 or left out, not {quoted(self.both_bad)}")
        return _TICKS[self.both_bad]


class SettlementForm(BaseModel):
    """An adjudicator's settlement of a comparison, as a plain form sends it."""

    preferred: str = ""  # "a", "b", "tie" or "bad"; empty for a ranking
    ranks: list[str] = []  # by canonical position
    reason: str = ""
    comment: str = ""
    edge_case: str = ""
    next: str = ""  # "1": continue with the next disputed comparison


class JudgmentIn(BaseModel):
    """A judgment as JSON comes in; a field that it does not know is refused, not dropped.

    Fields of other kinds may be there without a value, as clients of all kinds send them.
    """

    model_config = ConfigDict(extra="forbid")

    kind: str

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        empty: tuple[Any, ...] = (None, False, "", [], {})
        return {
            key: own for key, own in given.items() if key in cls.model_fields or own not in empty
        }

    def body(self) -> JudgmentBody:
        """Return the judgment for the service."""
        return KINDS[JudgmentKind(self.kind)].body.from_json(self.model_dump())


class JudgmentOut(BaseModel, ABC):
    """A judgment as JSON goes out."""

    kind: str

    @abstractmethod
    def fill(self, form: JudgmentForm) -> None:
        """Fill in the form with this judgment."""

    @abstractmethod
    def words(self, names: Mapping[int, str]) -> str:
        """Describe the judgment; `names` are those of the canonical positions."""


@dataclass(frozen=True, slots=True)
class PageKind:
    """One kind of judgment on the web side."""

    name: JudgmentKind
    parse: Callable[[JudgmentForm], JudgmentBody]
    question: str  # the heading of the labeling page
    task: str  # what to do, in the guide at the first comparison
    task_keys: tuple[str, ...]  # the keys that do it
    verb: str  # what labelers are asked to do with completions
    task_by_keys: str = ""  # what the guide says before the keys, where there are keys
    has_scale: bool = False  # the form offers a scale between two responses
    settle: Callable[[SettlementForm], OrderBody] | None = None
    settled_format: str = ""  # Markdown: how a file gives the settled answer


def quoted(value: str) -> str:
    """Return a refused value as a message repeats it."""
    return repr(value[:_QUOTED_MOST]) + ("…" if len(value) > _QUOTED_MOST else "")


def whole_number(what: str, text: str, low: int, high: int) -> int:
    """Read a whole number in ASCII digits.

    Raises:
        Invalid: it is something else, or out of range.
    """
    digits = len(str(high))
    if not re.fullmatch(rf"[0-9]{{1,{digits}}}", text) or not low <= int(text) <= high:
        raise Invalid(f"{what} must be a whole number from {low} to {high}, not {quoted(text)}")
    return int(text)


def by_position(what: str, values: Mapping[int, int]) -> tuple[int, ...]:
    """Return values in the order of their canonical positions.

    Raises:
        Invalid: a position is missing.
    """
    positions = range(len(values))
    if sorted(values) != list(positions):
        raise Invalid(f"{what} must be of positions 0 to {len(values) - 1}, not {sorted(values)}")
    return tuple(values[position] for position in positions)


def position_of(what: str, text: str) -> int:
    """Read a canonical position."""
    return whole_number(f"{what}: the position", text, 0, MOST - 1)

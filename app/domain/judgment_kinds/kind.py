"""What all kinds of judgment have in common.

A body is the content of a judgment as a labeler gave it; each kind has a class of its own. Bodies
refer to completions by canonical position; who saw which completion where is left to others.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

from app.domain.ranking import Ranking
from app.errors import Invalid

_STRENGTHS = {0: (), 1: (), 2: (2, 3), 3: (2, 3, 4), 4: (1, 2, 3, 4)}


class JudgmentKind(StrEnum):
    """The kind of judgment; it is stored with each comparison."""

    PICK = "pick"
    RANK = "rank"
    RATE = "rate"
    THUMBS = "thumbs"
    WRITE = "write"
    EDIT = "edit"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a comparison asks for: `criteria` are those to rate on, `original` the text to edit."""

    kind: str
    k: int
    strength_steps: int = 4
    allow_tie: bool = True
    allow_both_bad: bool = True
    rating_max: int = 5
    criteria: Mapping[str, str] = field(default_factory=dict)  # name -> help, in order
    original: str | None = None

    @property
    def strengths(self) -> tuple[int, ...]:
        """The strengths on offer, weakest first; none if the project asks for no strength."""
        return _STRENGTHS[self.strength_steps]


class JudgmentBody(ABC):
    """The content of a judgment."""

    __slots__ = ()
    kind: ClassVar[JudgmentKind]

    @classmethod
    @abstractmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read a body from values by name, which are also the columns of a judgment."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the body as plain JSON values by name."""

    @abstractmethod
    def checked(self, rules: Rules) -> Self:
        """Return the body as it is stored.

        Raises:
            Invalid: it breaks a rule or is incomplete.
        """

    def digest_content(self) -> dict[str, Any]:
        """Return the values that two submissions must share to be the same."""
        return self.to_json()

    @classmethod
    def from_settled(cls, answer: Mapping[str, Any]) -> Self | None:
        """Read the settled answer of a gold or practice comparison; None if it is missing."""
        del answer
        return None

    def is_right(self, settled: Self) -> bool:
        """Return whether this judgment agrees with the settled one."""
        return self == settled


class OrderBody(JudgmentBody):
    """A judgment of which completion is better; *both bad* stands beside the order, or alone."""

    __slots__ = ()
    both_bad: bool

    @classmethod
    @abstractmethod
    def of_ranking(cls, ranking: Ranking | None, *, both_bad: bool) -> Self:
        """Return the judgment that gives this ranking."""

    def refuse_both_bad(self, rules: Rules) -> None:
        """Refuse *both bad* where the project does not offer it."""
        if self.both_bad and not rules.allow_both_bad:
            raise Invalid("this project does not offer both bad")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of judgment: its body class, and what the rest of the product asks about it."""

    body: type[JudgmentBody]
    noun: str  # with its article: "a ranking"
    fewest: int
    most: int
    is_written: bool = False  # the labeler writes a text, which is a demonstration
    is_preferred_text: bool = False  # and that text is preferred to the completion shown
    uses_criteria: bool = False
    has_right_answer: bool = True  # so it can be practiced and used as gold
    reasons: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by thumb, by value

    @property
    def name(self) -> JudgmentKind:
        """The kind itself."""
        return self.body.kind

    @property
    def is_ordering(self) -> bool:
        """Whether it says which completion is better."""
        return issubclass(self.body, OrderBody)

    @property
    def judges_completions(self) -> bool:
        """Whether labelers are shown completions, so that a reward model can learn from it."""
        return self.fewest > 0

    @property
    def shows_several(self) -> bool:
        """Whether a comparison may show more than one completion."""
        return self.most > 1

    def implies_pairs(self, k: int) -> bool:
        """Return whether judgments of k completions imply preferences."""
        return k > 1 or self.is_preferred_text

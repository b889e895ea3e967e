"""Judged comparisons as plain values, and the options of an export.

Nothing is read from the database here; `preferences` does that. `TrainingRow` is what training sees
of a comparison.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from app.domain.instruction_text import UNKNOWN, InstructionPlace
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.domain.ranking import Ranking
from app.domain.vote_shares import TrainingPair, absolutes, pairs
from app.errors import Invalid
from app.formats.training_rows import DatasetPrompt, JudgedCompletion, PlainVote, TrainingRow
from app.models import Purpose, Split

Kind = TypeVar("Kind", bound=StrEnum)

NOT_PREFERENCE = "implies no preference"
NOT_LABELLED = "finds no completion good or bad"
NO_TEXT = "no text was written"
SAME_TEXT = "the same text is there already"
SURPLUS = "surplus: the slot had gone to someone else"
RETRACTED = "retracted"
WITHDRAWN = "comparison withdrawn"
UNJUDGED = "comparison has no judgment that counts"
ADJUDICATED = "comparison adjudicated"
TIED = "tied"
LOW_AGREEMENT = "agreement below the minimum"

EDITED = "edit"
"""The source of a completion that a labeler edited."""


class Aggregate(StrEnum):
    """How several votes on one pair become rows."""

    EACH_VOTE = "each_vote"
    MAJORITY = "majority"
    VOTE_SHARE = "vote_share"


class Ties(StrEnum):
    """What to do with *about the same*."""

    DROP = "drop"
    HALF = "half"  # half a preference each way


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Which judgments to export, and how to aggregate them."""

    aggregate: Aggregate = Aggregate.VOTE_SHARE
    ties: Ties = Ties.DROP
    min_agreement: float = 0.0
    rounds: tuple[int, ...] = ()  # numbers; none: all
    purposes: tuple[Purpose, ...] = (Purpose.TRAIN,)
    splits: tuple[Split, ...] = (Split.TRAIN,)
    include_adjudicated: bool = True
    instruction: InstructionPlace = InstructionPlace.PROMPT

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_agreement <= 1.0:
            raise Invalid(f"min_agreement is a share from 0 to 1, not {self.min_agreement}")
        if not self.purposes or not self.splits:
            raise Invalid("an export needs at least one purpose and one split")

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values."""
        return {
            "aggregate": self.aggregate,
            "ties": self.ties,
            "min_agreement": self.min_agreement,
            "rounds": list(self.rounds),
            "purposes": list(self.purposes),
            "splits": list(self.splits),
            "include_adjudicated": self.include_adjudicated,
            "instruction": self.instruction,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ExportOptions":
        """Read options; missing ones have their defaults.

        Raises:
            Invalid: an unknown name or a value that is not one of the choices.
        """
        unknown = set(data) - set(cls.__dataclass_fields__)
        if unknown:
            raise Invalid(f"an export has no option {sorted(unknown)[0]!r}")
        defaults = cls()
        return cls(
            aggregate=_choice(Aggregate, data.get("aggregate", defaults.aggregate)),
            ties=_choice(Ties, data.get("ties", defaults.ties)),
            min_agreement=float(data.get("min_agreement", defaults.min_agreement)),
            rounds=tuple(int(number) for number in data.get("rounds", ())),
            purposes=tuple(_choice(Purpose, p) for p in data.get("purposes", defaults.purposes)),
            splits=tuple(_choice(Split, s) for s in data.get("splits", defaults.splits)),
            include_adjudicated=bool(data.get("include_adjudicated", True)),
            instruction=_choice(
                InstructionPlace, data.get("instruction", defaults.instruction), "instruction"
            ),
        )


@dataclass(frozen=True, slots=True)
class Voted:
    """A judgment under the labeler's pseudonym."""

    judgment_id: int
    labeler: str
    ranking: Ranking | None
    strength: int | None
    both_bad: bool
    ratings: Mapping[str, Sequence[int]] | None
    text: str | None
    flags: tuple[str, ...]
    comment: str
    shown_order: tuple[int, ...]
    guidelines_version: int
    started_at: datetime
    submitted_at: datetime
    active_ms: int
    thumb: str | None = None
    reasons: tuple[str, ...] = ()
    instruction_version: int = UNKNOWN


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    """A comparison with every judgment that counts.

    `weights` are those of rated criteria, `instructions` the texts of the versions that it was
    judged under.
    """

    comparison_id: int
    kind: JudgmentKind
    purpose: Purpose
    round_number: int | None
    prompt: DatasetPrompt
    candidates: tuple[JudgedCompletion, ...]
    votes: tuple[Voted, ...]
    settled: Ranking | None = None  # by an adjudicator
    weights: Mapping[str, float] = field(default_factory=dict)
    instructions: Mapping[int, str] = field(default_factory=dict)

    def instruction_of(self, vote: Voted) -> str:
        """Return the instruction that a labeler saw; none is known for what was imported."""
        if vote.instruction_version == UNKNOWN:
            return ""
        return self.instructions.get(vote.instruction_version, "")

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """The orderings that the votes imply."""
        return tuple(vote.ranking for vote in self.votes if vote.ranking is not None)

    @property
    def edits(self) -> tuple[Voted, ...]:
        """The votes that give an edited version of the completion."""
        if not KINDS[self.kind].is_preferred_text:
            return ()
        return tuple(vote for vote in self.votes if vote.text is not None)


@dataclass(slots=True)
class Counts:
    """What is included, and what is left out and why, in judgments and in comparisons."""

    comparisons: int = 0
    judgments: int = 0
    comparisons_out: Counter[str] = field(default_factory=Counter)
    judgments_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON values."""
        return {
            "comparisons": self.comparisons,
            "judgments": self.judgments,
            "comparisons_out": dict(sorted(self.comparisons_out.items())),
            "judgments_out": dict(sorted(self.judgments_out.items())),
        }


@dataclass(frozen=True, slots=True)
class JudgedPage:
    """A page of comparisons by id, and where the next page begins."""

    rows: tuple[JudgedComparison, ...]
    after: int | None  # None on the last page


def teaches(judged: JudgedComparison, vote: Voted) -> bool:
    """Return whether a reward model can learn from a vote."""
    is_edit = KINDS[judged.kind].is_preferred_text and vote.text is not None
    return is_edit or any(one is not None for one in (vote.ranking, vote.ratings, vote.thumb))


def training_row(judged: JudgedComparison) -> TrainingRow | None:
    """Return a comparison as training data; None if its votes teach nothing."""
    taught = tuple(vote.judgment_id for vote in judged.votes if teaches(judged, vote))
    if not taught:
        return None
    candidates, implied = judged.candidates, pairs(judged.votes, len(judged.candidates))
    if judged.edits:
        candidates, implied = _with_edits(judged)
    return TrainingRow(
        judged.comparison_id,
        judged.round_number,
        judged.prompt,
        candidates,
        implied,
        taught,
        absolutes(judged.votes, len(judged.candidates)),
        judged.weights,
        instructions={
            vote.instruction_version: judged.instruction_of(vote)
            for vote in judged.votes
            if vote.judgment_id in taught
        },
    )


def plain_votes(judged: JudgedComparison) -> tuple[PlainVote, ...]:
    """Return the votes that rank the completions, as a training row stores them."""
    return tuple(
        PlainVote(vote.judgment_id, vote.labeler, vote.ranking, vote.strength)
        for vote in judged.votes
        if vote.ranking is not None
    )


def _with_edits(
    judged: JudgedComparison,
) -> tuple[tuple[JudgedCompletion, ...], tuple[TrainingPair, ...]]:
    """Return the completion with its edited versions, and pairs that prefer each of them to it."""
    by_text: dict[str, list[Voted]] = {}
    for vote in judged.edits:
        by_text.setdefault(vote.text or "", []).append(vote)
    edited = tuple(
        JudgedCompletion(-votes[0].judgment_id, text, None, True, EDITED, None)
        for text, votes in by_text.items()
    )
    better = tuple(
        TrainingPair(place, 0, 1.0, len(votes), 1.0)
        for place, votes in enumerate(by_text.values(), 1)
    )
    return (*judged.candidates, *edited), better


def _choice(kind: type[Kind], value: object, name: str = "") -> Kind:
    if value not in list(kind):
        name = name or kind.__name__.lower()
        raise Invalid(f"{name} must be one of {', '.join(kind)}, not {value!r}")
    return kind(str(value))

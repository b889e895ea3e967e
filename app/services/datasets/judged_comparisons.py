"""A comparison with everything people said of it, as values; and the choices of what to take.

No rows are read here: `preferences` does that. What training sees of a comparison is `TrainingRow`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import combinations
from typing import Any, Protocol, TypeVar

from app.domain.ranking import Ranking
from app.errors import Invalid
from app.models import JudgmentKind, Purpose, Split

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
"""The source of a completion that a labeler made better."""


class Aggregate(StrEnum):
    """How several votes on one pair become rows."""

    EACH_VOTE = "each_vote"
    MAJORITY = "majority"
    VOTE_SHARE = "vote_share"


class Ties(StrEnum):
    """What becomes of *about the same*."""

    DROP = "drop"
    HALF = "half"  # half a preference each way


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Which judgments, and how they are put together."""

    aggregate: Aggregate = Aggregate.VOTE_SHARE
    ties: Ties = Ties.DROP
    min_agreement: float = 0.0
    rounds: tuple[int, ...] = ()  # numbers; none: all
    purposes: tuple[Purpose, ...] = (Purpose.TRAIN,)
    splits: tuple[Split, ...] = (Split.TRAIN,)
    include_adjudicated: bool = True

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
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ExportOptions":
        """Read options; what is left out has its default.

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
        )


@dataclass(frozen=True, slots=True)
class DatasetPrompt:
    """The prompt of a comparison."""

    id: int
    messages: tuple[Mapping[str, Any], ...]
    split: Split
    content_hash: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class JudgedCompletion:
    """A completion in its canonical place. `token_ids` None: foreign text, not sampled here."""

    completion_id: int
    text: str
    token_ids: tuple[int, ...] | None
    is_finished: bool
    source: str
    checkpoint_id: int | None


class Ordered(Protocol):
    """A vote as far as pairs are concerned, from the database or from a file."""

    @property
    def ranking(self) -> Ranking | None:
        """The order it gives, if any."""

    @property
    def strength(self) -> int | None:
        """How much better the better one is, 1 to 4."""


class AbsoluteVote(Protocol):
    """A vote as far as completions by themselves are concerned, from the database or a file."""

    @property
    def ratings(self) -> Mapping[str, Sequence[int]] | None:
        """The rating of each completion, by criterion."""

    @property
    def thumb(self) -> str | None:
        """Up or down, of the one completion."""


@dataclass(frozen=True, slots=True)
class Voted:
    """One judgment, under the labeler's pseudonym."""

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


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    """A comparison with every judgment that counts; `weights` of the criteria where it is rated."""

    comparison_id: int
    kind: JudgmentKind
    purpose: Purpose
    round_number: int | None
    prompt: DatasetPrompt
    candidates: tuple[JudgedCompletion, ...]
    votes: tuple[Voted, ...]
    settled: Ranking | None = None  # by an adjudicator
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def rankings(self) -> tuple[Ranking, ...]:
        """The orderings that the votes imply."""
        return tuple(vote.ranking for vote in self.votes if vote.ranking is not None)

    @property
    def edits(self) -> tuple[Voted, ...]:
        """The votes that give a better version of the completion."""
        if self.kind != JudgmentKind.EDIT:
            return ()
        return tuple(vote for vote in self.votes if vote.text is not None)


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """Two completions by canonical position, and how the votes fell.

    `share` is the vote share of the first, a tie half each way. `strength` is the mean strength (1
    to 4) of the votes that preferred one, None if none was asked. `agreement` is the share of the
    largest camp.
    """

    first: int
    second: int
    share: float
    votes: int
    agreement: float
    strength: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingAbsolute:
    """What people said of one completion by itself: mean ratings, and the share of thumbs up.

    `ratings` go by criterion, in the project's own scale; `thumb` is None where none was asked.
    """

    ratings: Mapping[str, float] = field(default_factory=dict)
    thumb: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One comparison as a reward model learns from it.

    `absolutes` has one entry for each candidate, or none; `weights` are those of the criteria. The
    versions that labelers made of an edited completion are candidates too, each better than it.
    """

    comparison_id: int
    round_number: int | None
    prompt: DatasetPrompt
    candidates: tuple[JudgedCompletion, ...]
    pairs: tuple[TrainingPair, ...]
    judgment_ids: tuple[int, ...]
    absolutes: tuple[TrainingAbsolute, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Counts:
    """What came in, and what was left out and why, in judgments and in comparisons."""

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
    """Some comparisons in order of their id, and where the next page begins."""

    rows: tuple[JudgedComparison, ...]
    after: int | None  # None: that was the last page


def teaches(judged: JudgedComparison, vote: Voted) -> bool:
    """Tell whether a reward model learns anything from a vote."""
    is_edit = judged.kind == JudgmentKind.EDIT and vote.text is not None
    return is_edit or any(one is not None for one in (vote.ranking, vote.ratings, vote.thumb))


def training_row(judged: JudgedComparison) -> TrainingRow | None:
    """Return what the votes say of a comparison; None if that is nothing to learn from."""
    taught = tuple(vote.judgment_id for vote in judged.votes if teaches(judged, vote))
    if not taught:
        return None
    candidates, given = judged.candidates, pairs(judged.votes, len(judged.candidates))
    if judged.edits:
        candidates, given = _with_edits(judged)
    return TrainingRow(
        judged.comparison_id,
        judged.round_number,
        judged.prompt,
        candidates,
        given,
        taught,
        absolutes(judged.votes, len(judged.candidates)),
        judged.weights,
    )


def _with_edits(
    judged: JudgedComparison,
) -> tuple[tuple[JudgedCompletion, ...], tuple[TrainingPair, ...]]:
    """Return the completion and its better versions, and that each of them is better."""
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


def absolutes(votes: Sequence[AbsoluteVote], k: int) -> tuple[TrainingAbsolute, ...]:
    """Return each of k completions' mean rating on each criterion and its share of thumbs up."""
    if not any(vote.ratings or vote.thumb for vote in votes):
        return ()
    return tuple(_absolute(votes, place) for place in range(k))


def _absolute(votes: Sequence[AbsoluteVote], place: int) -> TrainingAbsolute:
    rated: dict[str, list[int]] = {}
    for vote in votes:
        for name, ratings in (vote.ratings or {}).items():
            rated.setdefault(name, []).append(ratings[place])
    thumbs = [vote.thumb == "up" for vote in votes if vote.thumb is not None]
    return TrainingAbsolute(
        {name: sum(given) / len(given) for name, given in sorted(rated.items())},
        sum(thumbs) / len(thumbs) if thumbs else None,
    )


def pairs(votes: Iterable[Ordered], k: int) -> tuple[TrainingPair, ...]:
    """Return the vote share of every pair of k completions, ties half each way."""
    ranked = [vote for vote in votes if vote.ranking is not None]
    if not ranked:
        return ()
    return tuple(_pair(ranked, first, second) for first, second in combinations(range(k), 2))


def _pair(votes: Sequence[Ordered], first: int, second: int) -> TrainingPair:
    camps: Counter[int] = Counter()
    strengths: list[int] = []
    for vote in votes:
        assert vote.ranking is not None
        a, b = vote.ranking.ranks[first], vote.ranking.ranks[second]
        sign = (b > a) - (b < a)
        camps[sign] += 1
        if sign and vote.strength is not None:
            strengths.append(vote.strength)
    total = camps.total()
    return TrainingPair(
        first,
        second,
        share=(camps[1] + camps[0] / 2) / total,
        votes=total,
        agreement=max(camps.values()) / total,
        strength=sum(strengths) / len(strengths) if strengths else None,
    )


def _choice(kind: type[Kind], value: object) -> Kind:
    if value not in list(kind):
        raise Invalid(f"{kind.__name__.lower()} must be one of {', '.join(kind)}, not {value!r}")
    return kind(str(value))

"""Judged comparisons as plain values, and the options of an export.

Nothing is read from the database here; `preferences` does that. `TrainingRow` is what training sees
of a comparison.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from app.domain.digits import number_of
from app.domain.instruction_text import UNKNOWN, InstructionPlace
from app.domain.judged_by import JudgedBy
from app.domain.judgment_kinds import KINDS, JudgmentKind
from app.domain.ranking import Ranking
from app.domain.vote_shares import TrainingPair, absolutes, pairs, settled_pairs
from app.errors import Invalid
from app.formats import containers
from app.formats.containers import Container
from app.formats.manifest import OPTION_TITLES
from app.formats.training_rows import DatasetPrompt, JudgedCompletion, PlainVote, TrainingRow
from app.models import Purpose, Split
from app.services.datasets import export_moments

Kind = TypeVar("Kind", bound=StrEnum)

NOT_PREFERENCE = "implies no preference"
MOSTLY_NEITHER = "most votes state no preference"
NO_MAJORITY = "no majority: several options have the most votes"
TIED = "tied"
OTHER_LABEL = "another category or tag"
LOW_AGREEMENT = "agreement below the minimum"
NOT_LABELLED = "finds no completion good or bad"
NO_TEXT = "no text was written"
EMPTY_BEFORE = "a response before the follow-up is empty"
SAME_TEXT = "the same text is there already"
SURPLUS = "surplus: the slot had gone to someone else"
RETRACTED = "retracted"
WITHDRAWN = "comparison withdrawn"
UNJUDGED = "comparison has no judgment that counts"
ADJUDICATED = "comparison settled"
SETTLED_NEITHER = "settled as both bad: no preference"
BY_AI = "made by an AI judge"
AI_UNDECIDED = "the AI judge's two replies contradict each other"
BY_PERSON = "made by a person"
SETTLED_INSTEAD = "comparison settled: the settlement is exported instead of the votes"

LICENSE_LONGEST = 100
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
    """Which judgments to export, how to aggregate them, and the file to write.

    These defaults are those of the page, the API and the command line. A comparison that a lead has
    settled follows the settlement, whatever its votes.
    """

    judged_by: JudgedBy = JudgedBy.HUMAN
    aggregate: Aggregate = Aggregate.MAJORITY
    ties: Ties = Ties.DROP
    min_agreement: float = 0.0
    rounds: tuple[int, ...] = ()  # numbers; none: all
    purposes: tuple[Purpose, ...] = (Purpose.TRAIN,)
    splits: tuple[Split, ...] = (Split.TRAIN,)
    include_adjudicated: bool = True
    categories: tuple[str, ...] = ()  # of the prompts, any of these; none: all
    tags: tuple[str, ...] = ()
    instruction: InstructionPlace = InstructionPlace.PROMPT
    since: datetime | None = None  # only what was judged or settled after it
    since_export: int | None = None  # the number of the export whose moment that is
    container: Container = Container.JSONL
    license: str = ""  # stated on the card

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_agreement <= 1.0:
            raise Invalid(f"min_agreement is a share from 0 to 1, not {self.min_agreement}")
        if not self.purposes or not self.splits:
            raise Invalid("an export needs at least one purpose and one split")
        if Purpose.FRESH in self.purposes:
            raise Invalid(
                "fresh comparisons are never exported; they only watch the training of a policy"
            )
        if len(self.license) > LICENSE_LONGEST:
            raise Invalid(
                f"a license has at most {LICENSE_LONGEST} characters, not {len(self.license)}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values."""
        return {
            "judged_by": self.judged_by,
            "aggregate": self.aggregate,
            "ties": self.ties,
            "min_agreement": self.min_agreement,
            "rounds": list(self.rounds),
            "purposes": list(self.purposes),
            "splits": list(self.splits),
            "include_adjudicated": self.include_adjudicated,
            "categories": list(self.categories),
            "tags": list(self.tags),
            "instruction": self.instruction,
            "since": None if self.since is None else self.since.isoformat(),
            "since_export": self.since_export,
            "container": self.container,
            "license": self.license,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ExportOptions":
        """Read options; missing ones have their defaults.

        Raises:
            Invalid: an unknown name or a value that is not one of the choices.
        """
        unknown = set(data) - set(OPTION_TITLES)
        if unknown:
            known = ", ".join(OPTION_TITLES)
            raise Invalid(f"an export has no option {sorted(unknown)[0]!r}; there are {known}")
        defaults = cls()
        since, since_export = export_moments.parse(data.get("since"))
        return cls(
            judged_by=_choice(JudgedBy, data.get("judged_by", defaults.judged_by), "judged_by"),
            aggregate=_choice(Aggregate, data.get("aggregate", defaults.aggregate)),
            ties=_choice(Ties, data.get("ties", defaults.ties)),
            min_agreement=_share(data.get("min_agreement", defaults.min_agreement)),
            rounds=tuple(_round(number) for number in _listed(data.get("rounds", ()))),
            purposes=tuple(
                _choice(Purpose, p) for p in _listed(data.get("purposes", defaults.purposes))
            ),
            splits=tuple(_choice(Split, s) for s in _listed(data.get("splits", defaults.splits))),
            include_adjudicated=_truth(data.get("include_adjudicated", True)),
            categories=_names("categories", data.get("categories", ())),
            tags=_names("tags", data.get("tags", ())),
            instruction=_choice(
                InstructionPlace, data.get("instruction", defaults.instruction), "instruction"
            ),
            since=since,
            since_export=export_moments.number(data.get("since_export")) or since_export,
            container=containers.named(str(data.get("container", defaults.container))),
            license=" ".join(str(data.get("license", "")).split()),
        )


class Voted(NamedTuple):
    """A judgment under the labeler's pseudonym; a tuple, because exports make millions.

    That of an AI judge `is_ai`, and its id is negative: they are numbered apart from people's.
    """

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
    started_at: datetime | None  # None, like the order shown, if the format needs no details
    submitted_at: datetime | None
    active_ms: int
    thumb: str | None = None
    reasons: tuple[str, ...] = ()
    margin: float | None = None  # of an imported file, in its own unit
    instruction_version: int = UNKNOWN
    is_ai: bool = False


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    """A comparison with every judgment that counts; `weights` are those of rated criteria.

    `settled` is the ranking of an adjudicator. An adjudicator who found no completion good states
    none, and then `is_settled_as_bad`. `instructions` are the texts of the project's versions.
    """

    comparison_id: int
    kind: JudgmentKind
    purpose: Purpose
    round_number: int | None
    prompt: DatasetPrompt
    candidates: tuple[JudgedCompletion, ...]
    votes: tuple[Voted, ...]
    settled: Ranking | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    is_settled_as_bad: bool = False
    instructions: Mapping[int, str] = field(default_factory=dict)
    chosen: Mapping[str, Any] | None = None  # why, if a rule chose it

    @property
    def is_settled(self) -> bool:
        """Whether a lead has settled it: then the settlement decides, not the votes."""
        return self.settled is not None or self.is_settled_as_bad

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
    """Return a comparison as training data; None if it teaches nothing.

    A settled comparison teaches the settlement; its votes stay in the row, so that the agreement of
    people can be computed.
    """
    if judged.is_settled_as_bad:
        return None
    taught = tuple(vote.judgment_id for vote in judged.votes if teaches(judged, vote))
    candidates = judged.candidates
    if judged.settled is not None:
        implied = settled_pairs(judged.settled, len(judged.votes))
    elif not taught:
        return None
    elif judged.edits:
        candidates, implied = _with_edits(judged)
    else:
        implied = pairs(judged.votes, len(judged.candidates))
    said = [(each.earlier, each.text) for each in candidates]
    implied = tuple(p for p in implied if said[p.first] != said[p.second])
    return TrainingRow(
        judged.comparison_id,
        judged.round_number,
        judged.prompt,
        candidates,
        implied,
        taught,
        absolutes(judged.votes, len(judged.candidates)),
        judged.weights,
        judged.settled is not None,
        instructions={
            vote.instruction_version: judged.instruction_of(vote)
            for vote in judged.votes
            if vote.judgment_id in taught
        },
    )


def plain_votes(judged: JudgedComparison, *, of_ai: bool = False) -> tuple[PlainVote, ...]:
    """Return the votes of people, or of AI judges, that rank the completions."""
    return tuple(
        PlainVote(vote.judgment_id, vote.labeler, vote.ranking, vote.strength)
        for vote in judged.votes
        if vote.ranking is not None and vote.is_ai is of_ai
    )


def _with_edits(
    judged: JudgedComparison,
) -> tuple[tuple[JudgedCompletion, ...], tuple[TrainingPair, ...]]:
    """Return the completion with its edited versions, and pairs that prefer each of them to it."""
    by_text: dict[str, list[Voted]] = {}
    for vote in judged.edits:
        by_text.setdefault(vote.text or "", []).append(vote)
    edited = tuple(
        replace(
            judged.candidates[0],
            completion_id=-votes[0].judgment_id,
            text=text,
            token_ids=None,
            is_finished=True,
            source=EDITED,
            checkpoint_id=None,
        )
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


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid(f"min_agreement is a share from 0 to 1, not {value!r}")
    return float(value)


def _round(value: object) -> int:
    number = None if isinstance(value, bool) else number_of(str(value))
    if number is None:
        raise Invalid(f"rounds are whole numbers, such as 1, not {value!r}")
    return number


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"include_adjudicated is true or false, not {value!r}")
    return value


def _names(option: str, value: object) -> tuple[str, ...]:
    """Return the names in a list; a text is one name, because a category may have commas."""
    names = value if isinstance(value, list | tuple) else (value,)
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise Invalid(f"{option} must be a list of names, not {name!r}")
    return tuple(dict.fromkeys(name.strip() for name in names))


def _listed(value: object) -> Iterable[object]:
    """Return the values of a list, or of a text that separates them by commas."""
    if isinstance(value, str):
        return value.replace(",", " ").split()
    return value if isinstance(value, list | tuple) else (value,)

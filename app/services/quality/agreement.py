"""Agreement of a project's labelers: which judgments count, and the reports made of them.

Current judgments count, neither retracted nor surplus, of comparisons for training unless another
purpose is asked for; adjudications, gold, practice and repeats stay out. The statistics themselves
are the domain's; what each labeler does beside agreeing is `quality`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.domain import agreement, labelers
from app.domain.agreement import Report
from app.domain.alpha import Metric
from app.domain.labelers import LabelerAgreement, PairAgreement
from app.domain.measures import Measure
from app.domain.ranking import strength_of
from app.domain.votes import Vote, tabulate
from app.models import (
    Comparison,
    Judgment,
    JudgmentKind,
    Membership,
    Prompt,
    Purpose,
    Round,
)
from app.services.datasets.preferences import ranking_of
from app.services.project import criteria
from app.services.quality import absolute_agreement
from app.services.quality.absolute_agreement import AbsoluteReport
from app.services.quality.result_cache import remembered
from app.services.queue import counted_judgments

RESAMPLES = 1000
GROUP_RESAMPLES = 200
BINS = 12
SMALLEST_BIN = 20
LOW = 0.6
_COLUMNS = (
    *("id", "comparison_id", "labeler_id", "preferred", "ranking", "ratings", "strength"),
    *("guidelines_version", "submitted_at", "kind", "thumb"),
)
_ORDERING = (JudgmentKind.PICK, JudgmentKind.RANK)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which judgments to look at; None stands for all."""

    round_id: int | None = None
    labeler_id: int | None = None
    version: int | None = None
    source: str | None = None
    purpose: Purpose = Purpose.TRAIN


@dataclass(frozen=True, slots=True)
class Cast:
    """One judgment as agreement sees it, with what groups it."""

    vote: Vote | None  # None: it implies no preference
    comparison_id: int
    labeler: str
    version: int
    round_number: int | None
    source: str
    at: datetime
    kind: JudgmentKind
    ratings: dict[str, list[int]] | None
    thumb: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Agreement of a part of the votes."""

    name: str
    judgments: int
    raw: Measure
    alpha: Measure


@dataclass(frozen=True, slots=True)
class AgreementBin:
    """Agreement of comparisons that were finished one after the other."""

    start: datetime
    end: datetime
    versions: tuple[int, ...]
    raw: Measure


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """Everything about how far a project's labelers agree."""

    overall: Report
    judgments: int
    without_preference: int
    kinds: dict[JudgmentKind, int]  # judgments of each kind, those that there are
    absolute: AbsoluteReport
    rounds: tuple[Group, ...]
    versions: tuple[Group, ...]
    sources: tuple[Group, ...]
    over_time: tuple[AgreementBin, ...]
    labelers: tuple[LabelerAgreement, ...]
    pairs: tuple[PairAgreement, ...]
    flips: dict[str, int]

    @property
    def has_orders(self) -> bool:
        """Whether anybody was asked which completion is better."""
        return bool(self.overall.judgments) or any(kind in self.kinds for kind in _ORDERING)

    @property
    def texts(self) -> int:
        """How many texts people wrote or made better."""
        return sum(self.kinds.get(kind, 0) for kind in (JudgmentKind.WRITE, JudgmentKind.EDIT))


@remembered
def report(
    session: Session,
    project_id: int,
    *,
    round_id: int | None = None,
    labeler_id: int | None = None,
    purpose: Purpose = Purpose.TRAIN,
    version: int | None = None,
    source: str | None = None,
) -> AgreementReport:
    """Measure agreement of a project, or of a part of it.

    With a labeler, only the comparisons they judged are looked at, with everybody's votes.
    """
    filters = Filters(round_id, labeler_id, version, source, purpose)
    return measure(load(session, project_id, filters), criteria.weights(session, project_id))


@remembered
def summary(session: Session, project_id: int, *, round_id: int | None = None) -> Report:
    """Measure overall agreement only, quickly enough for a page that refreshes itself."""
    cast = load(session, project_id, Filters(round_id=round_id))
    return agreement.report(_votes(cast), resamples=GROUP_RESAMPLES)


@remembered
def of_labelers(session: Session, project_id: int) -> tuple[LabelerAgreement, ...]:
    """Measure how each labeler agrees with the others."""
    votes = _votes(load(session, project_id))
    return labelers.with_others(votes, resamples=GROUP_RESAMPLES)


@remembered
def by_version(session: Session, project_id: int) -> tuple[Group, ...]:
    """Measure agreement under each version of the guidelines."""
    return _groups(load(session, project_id), lambda one: _version_name(one.version))


def measure(cast: Sequence[Cast], weights: Mapping[str, float]) -> AgreementReport:
    """Measure agreement of judgments that were loaded."""
    votes = _votes(cast)
    names = list(dict.fromkeys(vote.labeler for vote in votes))
    return AgreementReport(
        overall=agreement.report(votes, resamples=RESAMPLES),
        judgments=len(cast),
        without_preference=sum(one.vote is None and one.kind in _ORDERING for one in cast),
        kinds=dict(Counter(one.kind for one in cast)),
        absolute=absolute_agreement.report(cast, weights),
        rounds=_groups(cast, lambda one: _round_name(one.round_number)),
        versions=_groups(cast, lambda one: _version_name(one.version)),
        sources=_groups(cast, lambda one: one.source or "no source named"),
        over_time=_over_time(cast),
        labelers=labelers.with_others(votes, resamples=GROUP_RESAMPLES),
        pairs=labelers.in_pairs(votes),
        flips={str(name): labelers.flipped_majorities(votes, name) for name in names},
    )


def load(session: Session, project_id: int, filters: Filters | None = None) -> list[Cast]:
    """Return the judgments that count, in the order they were made."""
    asked = filters or Filters()
    member = (Membership.user_id == Judgment.labeler_id) & (Membership.project_id == project_id)
    query = (
        select(
            *(getattr(Judgment, name) for name in _COLUMNS),
            Membership.pseudonym,
            Round.number.label("round_number"),
            Prompt.source,
        )
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .join(Membership, member, isouter=True)
        .where(*_conditions(project_id, asked))
        .order_by(Judgment.submitted_at, Judgment.id)
    )
    weights = criteria.weights(session, project_id)
    return [_cast(row, weights) for row in session.execute(query)]


@remembered
def lowest(session: Session, project_id: int, *, below: float = LOW) -> list[tuple[int, float]]:
    """Return the comparisons with the lowest agreement, lowest first."""
    found = agreement.by_comparison(_votes(load(session, project_id)))
    return [(int(str(name)), value) for name, value in found.items() if value < below]


def _conditions(project_id: int, asked: Filters) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        Judgment.project_id == project_id,
        counted_judgments.counts(),
        Comparison.purpose == asked.purpose,
    ]
    if asked.round_id is not None:
        conditions.append(Comparison.round_id == asked.round_id)
    if asked.version is not None:
        conditions.append(Judgment.guidelines_version == asked.version)
    if asked.source is not None:
        conditions.append(Prompt.source == asked.source)
    if asked.labeler_id is not None:
        theirs = select(Judgment.comparison_id).where(
            Judgment.project_id == project_id,
            Judgment.labeler_id == asked.labeler_id,
            counted_judgments.fills_slot(),
        )
        conditions.append(Comparison.id.in_(theirs))
    return conditions


def _cast(row: Any, weights: dict[str, float]) -> Cast:
    # The columns of a judgment, not the judgment: a dashboard reads ten thousand of them.
    ranking = ranking_of(row, weights)
    labeler = row.pseudonym or f"former member {row.labeler_id}"
    vote = None
    if ranking is not None:
        strength = None if row.strength is None else strength_of(row.strength)
        vote = Vote(row.comparison_id, labeler, ranking, strength)
    return Cast(
        vote,
        row.comparison_id,
        labeler,
        row.guidelines_version,
        row.round_number,
        row.source,
        row.submitted_at,
        JudgmentKind(row.kind),
        row.ratings,
        row.thumb,
    )


def _votes(cast: Iterable[Cast]) -> list[Vote]:
    return [one.vote for one in cast if one.vote is not None]


def _groups(cast: Sequence[Cast], name_of: Callable[[Cast], str]) -> tuple[Group, ...]:
    parts: defaultdict[str, list[Cast]] = defaultdict(list)
    for one in cast:
        parts[name_of(one)].append(one)
    return tuple(_group(name, part) for name, part in sorted(parts.items()))


def _group(name: str, part: Sequence[Cast]) -> Group:
    table = tabulate(_votes(part))
    metric = Metric.ORDINAL if table.has_ties else Metric.NOMINAL
    return Group(
        name,
        len(part),
        agreement.raw_agreement(table, resamples=GROUP_RESAMPLES),
        agreement.preference_alpha(table, metric, resamples=GROUP_RESAMPLES),
    )


def _over_time(cast: Sequence[Cast]) -> tuple[AgreementBin, ...]:
    """Part the comparisons judged twice into bins of equal size, by their last judgment."""
    by_comparison: defaultdict[Hashable, list[Cast]] = defaultdict(list)
    for one in cast:
        if one.vote is not None:
            by_comparison[one.comparison_id].append(one)
    finished = sorted(
        (votes for votes in by_comparison.values() if len(votes) > 1), key=lambda v: v[-1].at
    )
    bins = min(BINS, len(finished) // SMALLEST_BIN)
    if bins < 2:
        return ()
    edges = [len(finished) * at // bins for at in range(bins + 1)]
    return tuple(_bin(finished[a:b]) for a, b in pairwise(edges))


def _bin(part: Sequence[Sequence[Cast]]) -> AgreementBin:
    votes = [one for each in part for one in each]
    return AgreementBin(
        min(each[-1].at for each in part),
        max(each[-1].at for each in part),
        tuple(sorted({one.version for one in votes})),
        agreement.raw_agreement(tabulate(_votes(votes)), resamples=GROUP_RESAMPLES),
    )


def _round_name(number: int | None) -> str:
    return "outside rounds" if number is None else f"round {number}"


def _version_name(version: int) -> str:
    return f"version {version}" if version else "imported, no version"

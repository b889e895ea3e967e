"""Agreement of a project's labelers: which judgments count, and the reports built from them.

Judgments count if they are current, not retracted and not surplus, on comparisons for training
unless another purpose is given; adjudications, gold, practice and repeats are left out. The
statistics are computed in `app.domain.agreement`; other measures of a labeler's work are in
`labeler_quality`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, pairwise
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.domain import agreement, labeler_agreement
from app.domain.agreement import PreferenceAgreement
from app.domain.judgment_kinds import ORDERING_KINDS, WRITTEN_KINDS, JudgmentKind
from app.domain.krippendorff import DistanceMetric
from app.domain.labeler_agreement import LabelerAgreement, PairAgreement
from app.domain.measures import Measure
from app.domain.ranking import strength_of
from app.domain.votes import Vote, tabulate
from app.models import Comparison, Judgment, Membership, Prompt, Purpose, Round
from app.services.datasets.preferences import ranking_of
from app.services.project import criteria, prompt_search
from app.services.project.prompt_search import NO_CATEGORY
from app.services.quality import absolute_agreement
from app.services.quality.absolute_agreement import AbsoluteReport
from app.services.quality.result_cache import cached
from app.services.queue import counted_judgments

RESAMPLES = 1000
GROUP_RESAMPLES = 200
MAX_BINS = 12
MAX_CATEGORIES = 50
MIN_BIN_SIZE = 20
LOW = 0.6
_COLUMNS = (
    *("id", "comparison_id", "labeler_id", "preferred", "ranking", "ratings", "strength"),
    *("guidelines_version", "submitted_at", "kind", "thumb"),
)


@dataclass(frozen=True, slots=True)
class AgreementFilter:
    """Which judgments to include; None means all."""

    round_id: int | None = None
    labeler_id: int | None = None
    version: int | None = None
    source: str | None = None
    purpose: Purpose = Purpose.TRAIN
    categories: tuple[str, ...] = ()  # none: all
    tags: tuple[str, ...] = ()  # prompts with any of them; none: all


@dataclass(frozen=True, slots=True)
class CountedJudgment:
    """The parts of a judgment that agreement is computed from and grouped by."""

    vote: Vote | None  # None if the judgment implies no preference
    comparison_id: int
    labeler: str
    version: int
    round_number: int | None
    source: str
    submitted_at: datetime
    kind: JudgmentKind
    ratings: dict[str, list[int]] | None
    thumb: str | None
    category: str = ""


@dataclass(frozen=True, slots=True)
class AgreementGroup:
    """Agreement of the judgments of one round, guidelines version, prompt source or category."""

    name: str
    judgments: int
    raw: Measure
    alpha: Measure


@dataclass(frozen=True, slots=True)
class AgreementBin:
    """Agreement of comparisons that were completed one after another."""

    start: datetime
    end: datetime
    versions: tuple[int, ...]
    raw: Measure


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """Agreement of a project's labelers, overall and by group."""

    overall: PreferenceAgreement
    judgments: int
    without_preference: int
    kinds: dict[JudgmentKind, int]  # number of judgments by kind, without zeros
    absolute: AbsoluteReport
    rounds: tuple[AgreementGroup, ...]
    versions: tuple[AgreementGroup, ...]
    sources: tuple[AgreementGroup, ...]
    over_time: tuple[AgreementBin, ...]
    labelers: tuple[LabelerAgreement, ...]
    pairs: tuple[PairAgreement, ...]
    flips: dict[str, int]
    categories: tuple[AgreementGroup, ...] = ()  # none if fewer than two

    @property
    def has_orders(self) -> bool:
        """Whether any labeler was asked which completion is better."""
        return bool(self.overall.judgments) or any(kind in self.kinds for kind in ORDERING_KINDS)

    @property
    def texts(self) -> int:
        """The number of demonstrations written and completions edited."""
        return sum(self.kinds.get(kind, 0) for kind in WRITTEN_KINDS)


@cached
def report(
    session: Session,
    project_id: int,
    *,
    round_id: int | None = None,
    labeler_id: int | None = None,
    purpose: Purpose = Purpose.TRAIN,
    version: int | None = None,
    source: str | None = None,
    categories: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
) -> AgreementReport:
    """Measure agreement of a project, or of a part of it.

    `labeler_id` limits the report to the comparisons this labeler judged, with all labelers' votes.
    """
    selection = AgreementFilter(round_id, labeler_id, version, source, purpose, categories, tags)
    return measure(load(session, project_id, selection), criteria.weights(session, project_id))


@cached
def summary(
    session: Session, project_id: int, *, round_id: int | None = None
) -> PreferenceAgreement:
    """Measure overall agreement only, fast enough for a page that refreshes itself."""
    judgments = load(session, project_id, AgreementFilter(round_id=round_id))
    return agreement.report(_votes(judgments), resamples=GROUP_RESAMPLES)


@cached
def of_labelers(session: Session, project_id: int) -> tuple[LabelerAgreement, ...]:
    """Measure each labeler's agreement with the others."""
    votes = _votes(load(session, project_id))
    return labeler_agreement.with_others(votes, resamples=GROUP_RESAMPLES)


@cached
def by_version(session: Session, project_id: int) -> tuple[AgreementGroup, ...]:
    """Measure agreement under each version of the guidelines."""
    return _groups(load(session, project_id), lambda judgment: _version_name(judgment.version))


def measure(judgments: Sequence[CountedJudgment], weights: Mapping[str, float]) -> AgreementReport:
    """Measure the agreement of loaded judgments."""
    votes = _votes(judgments)
    names = list(dict.fromkeys(vote.labeler for vote in votes))
    return AgreementReport(
        overall=agreement.report(votes, resamples=RESAMPLES),
        judgments=len(judgments),
        without_preference=sum(
            judgment.vote is None and judgment.kind in ORDERING_KINDS for judgment in judgments
        ),
        kinds=dict(Counter(judgment.kind for judgment in judgments)),
        absolute=absolute_agreement.report(judgments, weights),
        rounds=_groups(judgments, lambda judgment: _round_name(judgment.round_number)),
        versions=_groups(judgments, lambda judgment: _version_name(judgment.version)),
        sources=_groups(judgments, lambda judgment: judgment.source or "unknown source"),
        over_time=_over_time(judgments),
        labelers=labeler_agreement.with_others(votes, resamples=GROUP_RESAMPLES),
        pairs=labeler_agreement.in_pairs(votes),
        flips={str(name): labeler_agreement.flipped_majorities(votes, name) for name in names},
        categories=_by_category(judgments),
    )


def load(
    session: Session, project_id: int, selection: AgreementFilter | None = None
) -> list[CountedJudgment]:
    """Return the judgments that count, in the order they were submitted."""
    member = (Membership.user_id == Judgment.labeler_id) & (Membership.project_id == project_id)
    query = (
        select(
            *(getattr(Judgment, name) for name in _COLUMNS),
            Membership.pseudonym,
            Round.number.label("round_number"),
            Prompt.source,
            Prompt.category,
        )
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .join(Membership, member, isouter=True)
        .where(*_conditions(project_id, selection or AgreementFilter()))
        .order_by(Judgment.submitted_at, Judgment.id)
    )
    weights = criteria.weights(session, project_id)
    return [_counted_judgment(row, weights) for row in session.execute(query)]


@cached
def lowest(session: Session, project_id: int, *, below: float = LOW) -> list[tuple[int, float]]:
    """Return the comparisons whose agreement is below a threshold, lowest first."""
    by_comparison = agreement.by_comparison(_votes(load(session, project_id)))
    return [(int(str(name)), value) for name, value in by_comparison.items() if value < below]


def vote_of(judgment: Any, labeler: Hashable, weights: dict[str, float]) -> Vote | None:
    """Return the vote a judgment implies, or None if it implies no preference.

    `judgment` is a Judgment, or a row with the columns that a preference is read from.
    """
    ranking = ranking_of(judgment, weights)
    if ranking is None:
        return None
    strength = None if judgment.strength is None else strength_of(judgment.strength)
    return Vote(judgment.comparison_id, labeler, ranking, strength)


def _conditions(project_id: int, asked: AgreementFilter) -> list[ColumnElement[bool]]:
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
    conditions += prompt_search.is_labelled(project_id, asked.categories, asked.tags)
    if asked.labeler_id is not None:
        theirs = select(Judgment.comparison_id).where(
            Judgment.project_id == project_id,
            Judgment.labeler_id == asked.labeler_id,
            counted_judgments.fills_slot(),
        )
        conditions.append(Comparison.id.in_(theirs))
    return conditions


def _counted_judgment(row: Any, weights: dict[str, float]) -> CountedJudgment:
    # `row` holds the columns read, not a Judgment: a dashboard reads ten thousand of them.
    labeler = row.pseudonym or f"former member {row.labeler_id}"
    return CountedJudgment(
        vote_of(row, labeler, weights),
        row.comparison_id,
        labeler,
        row.guidelines_version,
        row.round_number,
        row.source,
        row.submitted_at,
        JudgmentKind(row.kind),
        row.ratings,
        row.thumb,
        row.category,
    )


def _votes(judgments: Iterable[CountedJudgment]) -> list[Vote]:
    return [judgment.vote for judgment in judgments if judgment.vote is not None]


def _groups(
    judgments: Sequence[CountedJudgment], name_of: Callable[[CountedJudgment], str]
) -> tuple[AgreementGroup, ...]:
    by_name: defaultdict[str, list[CountedJudgment]] = defaultdict(list)
    for judgment in judgments:
        by_name[name_of(judgment)].append(judgment)
    return tuple(_group(name, members) for name, members in sorted(by_name.items()))


def _by_category(judgments: Sequence[CountedJudgment]) -> tuple[AgreementGroup, ...]:
    """Measure each category if there are two or more; the smallest of very many are pooled."""
    sizes = Counter(judgment.category for judgment in judgments)
    if len(sizes) < 2:
        return ()
    shown = {name for name, _ in sizes.most_common(MAX_CATEGORIES)}
    others = f"{len(sizes) - len(shown)} other categories"
    return _groups(
        judgments,
        lambda judgment: (
            (judgment.category or NO_CATEGORY) if judgment.category in shown else others
        ),
    )


def _group(name: str, judgments: Sequence[CountedJudgment]) -> AgreementGroup:
    table = tabulate(_votes(judgments))
    metric = DistanceMetric.ORDINAL if table.has_ties else DistanceMetric.NOMINAL
    return AgreementGroup(
        name,
        len(judgments),
        agreement.raw_agreement(table, resamples=GROUP_RESAMPLES),
        agreement.preference_alpha(table, metric, resamples=GROUP_RESAMPLES),
    )


def _over_time(judgments: Sequence[CountedJudgment]) -> tuple[AgreementBin, ...]:
    """Split the comparisons judged twice or more into bins of equal size, by last judgment."""
    by_comparison: defaultdict[int, list[CountedJudgment]] = defaultdict(list)
    for judgment in judgments:
        if judgment.vote is not None:
            by_comparison[judgment.comparison_id].append(judgment)
    completed = sorted(
        (same for same in by_comparison.values() if len(same) > 1),
        key=lambda same: same[-1].submitted_at,
    )
    bins = min(MAX_BINS, len(completed) // MIN_BIN_SIZE)
    if bins < 2:
        return ()
    edges = [len(completed) * at // bins for at in range(bins + 1)]
    return tuple(_bin(completed[start:end]) for start, end in pairwise(edges))


def _bin(comparisons: Sequence[Sequence[CountedJudgment]]) -> AgreementBin:
    completed_at = [judgments[-1].submitted_at for judgments in comparisons]
    judgments = list(chain.from_iterable(comparisons))
    return AgreementBin(
        min(completed_at),
        max(completed_at),
        tuple(sorted({judgment.version for judgment in judgments})),
        agreement.raw_agreement(tabulate(_votes(judgments)), resamples=GROUP_RESAMPLES),
    )


def _round_name(number: int | None) -> str:
    return "outside rounds" if number is None else f"round {number}"


def _version_name(version: int) -> str:
    return f"version {version}" if version else "imported, no version"

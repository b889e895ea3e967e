"""Agreement of a project's labelers: which judgments count, and the reports built from them.

Judgments count if they are current, not retracted and not surplus, on comparisons for training
unless another purpose is given; adjudications, gold, practice and repeats are left out. So are
comparisons that a rule chose, unless they are asked for, because they are not typical. The
statistics are computed in `app.domain.agreement`; other measures of a labeler's work are in
`labeler_quality`.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import agreement, labeler_agreement, labeler_standing
from app.domain.agreement import PreferenceAgreement
from app.domain.judgment_kinds import ORDERING_KINDS, WRITTEN_KINDS, JudgmentKind
from app.domain.krippendorff import Numbers
from app.domain.labeler_agreement import LabelerAgreement, PairAgreement
from app.domain.labeler_standing import LabelerStanding
from app.domain.measures import Measure
from app.domain.ranking import strength_of
from app.domain.votes import Vote
from app.models import Adjudication, Purpose, Round
from app.services.datasets.implied_rankings import ranking_of
from app.services.project import criteria, prompt_search
from app.services.project.prompt_search import NO_CATEGORY
from app.services.quality import absolute_agreement, judgment_reader
from app.services.quality.absolute_agreement import AbsoluteReport
from app.services.quality.judgment_columns import KINDS, NO_ROUND, NONE, JudgmentColumns, numbered
from app.services.quality.kept_figures import kept

MAX_BINS = 12
MAX_CATEGORIES = 50
MIN_BIN_SIZE = 20
LOW = 0.6
NO_SOURCE = "unknown source"
LISTED = 1_000  # comparisons with low agreement that are listed; the others are counted


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
    chosen: bool = False  # include comparisons that a rule chose


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
    chosen: int = 0  # judgments on comparisons that a rule chose
    includes_chosen: bool = False

    @property
    def has_orders(self) -> bool:
        """Whether any labeler was asked which completion is better."""
        return bool(self.overall.judgments) or any(kind in self.kinds for kind in ORDERING_KINDS)

    @property
    def texts(self) -> int:
        """The number of demonstrations written and completions edited."""
        return sum(self.kinds.get(kind, 0) for kind in WRITTEN_KINDS)


@dataclass(frozen=True, slots=True)
class LowAgreement:
    """The comparisons whose agreement is below a threshold: how many, and the lowest of them."""

    total: int
    rows: tuple[tuple[int, float], ...]  # at most `LISTED`: id of the comparison, raw agreement


@dataclass(frozen=True, slots=True)
class LabelerStandings:
    """Labelers' choices against the others', and who is contrary in ratings or thumbs."""

    choices: dict[str, LabelerStanding]
    contrary: frozenset[str]


@kept
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
    chosen: bool = False,
) -> AgreementReport:
    """Measure agreement of a project, or of a part of it.

    `labeler_id` limits the report to the comparisons this labeler judged, with all labelers' votes.
    With `chosen`, comparisons that a rule chose are included; otherwise they are only counted.
    """
    labels = (
        tuple(categories),
        tuple(tags),
    )  # lists, if a process computes what it was asked as JSON
    selection = AgreementFilter(round_id, labeler_id, version, source, purpose, *labels)
    judgments = load(session, project_id, replace(selection, chosen=True))
    is_chosen = judgments.arrays.chosen
    measured = judgments if chosen else judgments.where(~is_chosen)
    return replace(
        measure(measured, criteria.weights(session, project_id)),
        chosen=int(is_chosen.sum()),
        includes_chosen=chosen,
    )


@kept
def summary(
    session: Session, project_id: int, *, round_id: int | None = None
) -> PreferenceAgreement:
    """Measure overall agreement only, fast enough for a page that refreshes itself."""
    judgments = load(session, project_id, AgreementFilter(round_id=round_id))
    return agreement.of_table(judgments.table(), judgments.strength_table())


@kept
def on_responses(
    session: Session, project_id: int, *, round_id: int | None = None
) -> AbsoluteReport:
    """Measure agreement on ratings and thumbs only, for the same use as `summary`."""
    judgments = load(session, project_id, AgreementFilter(round_id=round_id))
    return absolute_agreement.report(
        judgments.absolute.values(), criteria.weights(session, project_id)
    )


@kept
def of_labelers(session: Session, project_id: int) -> tuple[LabelerAgreement, ...]:
    """Measure each labeler's agreement with the others."""
    return labeler_agreement.with_others(load(session, project_id).table())


@kept
def standings(session: Session, project_id: int) -> LabelerStandings:
    """Compare each labeler's judgments for training with the others'."""
    judgments = load(session, project_id, AgreementFilter(chosen=True))
    choices = labeler_standing.standings(judgments.table())
    return LabelerStandings(
        {str(standing.labeler): standing for standing in choices},
        absolute_agreement.contrary(judgments.absolute.values()),
    )


@kept
def by_version(session: Session, project_id: int) -> tuple[AgreementGroup, ...]:
    """Measure agreement under each version of the guidelines."""
    return _versions(load(session, project_id))


def measure(judgments: JudgmentColumns, weights: Mapping[str, float]) -> AgreementReport:
    """Measure the agreement of loaded judgments."""
    table = judgments.table()
    kinds = judgments.kinds
    flips = labeler_agreement.flipped_majorities(table)
    return AgreementReport(
        overall=agreement.of_table(table, judgments.strength_table()),
        judgments=len(judgments),
        without_preference=_without_preference(judgments),
        kinds=kinds,
        absolute=absolute_agreement.report(judgments.absolute.values(), weights),
        rounds=_groups(judgments, judgments.arrays.round, _round_name),
        versions=_versions(judgments),
        sources=_groups(
            judgments, judgments.arrays.source, lambda at: judgments.sources[at] or NO_SOURCE
        ),
        over_time=_over_time(judgments),
        labelers=labeler_agreement.with_others(table),
        pairs=labeler_agreement.in_pairs(table),
        flips={str(name): times for name, times in flips.items()},
        categories=_by_category(judgments),
    )


def load(
    session: Session, project_id: int, selection: AgreementFilter | None = None
) -> JudgmentColumns:
    """Return the judgments that count, in the order they were submitted."""
    asked = selection or AgreementFilter()
    judgments = judgment_reader.read(session, project_id).of_purpose(asked.purpose)
    arrays = judgments.arrays
    mask = np.ones(len(judgments), dtype=bool) if asked.chosen else ~arrays.chosen
    if asked.round_id is not None:
        mask &= arrays.round == session.get_one(Round, asked.round_id).number
    if asked.version is not None:
        mask &= arrays.version == asked.version
    if asked.source is not None:
        known = judgments.sources.index(asked.source) if asked.source in judgments.sources else -1
        mask &= arrays.source == known
    if asked.categories:
        names = {"" if name == NO_CATEGORY else name for name in asked.categories}
        wanted = [at for at, name in enumerate(judgments.categories) if name in names]
        mask &= np.isin(arrays.category, wanted)
    if asked.tags:
        tagged = prompt_search.ids_with_tags(session, project_id, asked.tags)
        mask &= np.isin(arrays.prompt, tagged)
    if asked.labeler_id is not None:
        theirs = arrays.comparison[arrays.labeler == asked.labeler_id]
        mask &= np.isin(arrays.comparison, theirs)
    return judgments.where(mask)


@kept
def lowest(
    session: Session, project_id: int, *, below: float = LOW, settled: bool = False
) -> LowAgreement:
    """Return the comparisons whose agreement is below a threshold, lowest first.

    Those that a lead has settled are disputed no longer; with `settled` they are included.
    """
    table = load(session, project_id, AgreementFilter(chosen=True)).table()
    found = agreement.by_comparison_of_table(table, below=below)
    done = set() if settled else _settled(session, project_id)
    rows = [(one, value) for name, value in found.items() if (one := int(str(name))) not in done]
    return LowAgreement(len(rows), tuple(rows[:LISTED]))


def _settled(session: Session, project_id: int) -> set[int]:
    query = select(Adjudication.comparison_id).where(
        Adjudication.project_id == project_id, Adjudication.is_current
    )
    return set(session.scalars(query))


def vote_of(
    judgment: Any, labeler: Hashable, weights: dict[str, float], *, prompt: Hashable = None
) -> Vote | None:
    """Return the vote a judgment implies, or None if it implies no preference.

    `judgment` is a Judgment, or a row with the columns that a preference is read from. `prompt` is
    what intervals are clustered by.
    """
    ranking = ranking_of(judgment, weights)
    if ranking is None:
        return None
    strength = None if judgment.strength is None else strength_of(judgment.strength)
    return Vote(judgment.comparison_id, labeler, ranking, strength, prompt)


def _without_preference(judgments: JudgmentColumns) -> int:
    ordering = np.isin(judgments.arrays.kind, [KINDS.index(kind) for kind in ORDERING_KINDS])
    return int((ordering & ~judgments.is_preference).sum())


def _versions(judgments: JudgmentColumns) -> tuple[AgreementGroup, ...]:
    return _groups(judgments, judgments.arrays.version, _version_name)


def _groups(
    judgments: JudgmentColumns,
    values: Numbers,
    name_of: Callable[[int], str],
) -> tuple[AgreementGroup, ...]:
    """Measure each group of judgments with the same value."""
    groups = (
        _group(name_of(value), judgments.where(values == value))
        for value in np.unique(values).tolist()
    )
    return tuple(sorted(groups, key=lambda group: group.name))


def _by_category(judgments: JudgmentColumns) -> tuple[AgreementGroup, ...]:
    """Measure each category if there are two or more; the smallest of very many are pooled."""
    values = judgments.arrays.category
    present, sizes = np.unique(values, return_counts=True)
    if len(present) < 2:
        return ()
    shown = present[np.argsort(-sizes, kind="stable")[:MAX_CATEGORIES]]
    others = f"{len(present) - len(shown)} other categories"
    return _groups(
        judgments,
        np.where(np.isin(values, shown), values, np.int32(NONE)),
        lambda at: others if at == NONE else judgments.categories[at] or NO_CATEGORY,
    )


def _group(name: str, judgments: JudgmentColumns) -> AgreementGroup:
    table = judgments.table()
    return AgreementGroup(
        name,
        len(judgments),
        agreement.raw_agreement(table),
        agreement.preference_alpha(table, table.metric),
    )


def _over_time(judgments: JudgmentColumns) -> tuple[AgreementBin, ...]:
    """Split the comparisons judged twice or more into bins of equal size, by last judgment."""
    votes = judgments.where(judgments.is_preference)
    names, _, place = numbered(votes.arrays.comparison)
    counts = np.bincount(place, minlength=len(names))
    last = np.zeros(len(names))
    np.maximum.at(last, place, votes.arrays.submitted)
    completed = np.flatnonzero(counts > 1)
    completed = completed[np.lexsort((names[completed], last[completed]))]
    bins = min(MAX_BINS, len(completed) // MIN_BIN_SIZE)
    if bins < 2:
        return ()
    bin_of = np.full(len(names), -1)
    bin_of[completed] = np.arange(len(completed)) * bins // len(completed)
    of_vote = bin_of[place]
    return tuple(_bin(votes.where(of_vote == at), last[bin_of == at]) for at in range(bins))


def _bin(votes: JudgmentColumns, completed_at: NDArray[np.float64]) -> AgreementBin:
    return AgreementBin(
        datetime.fromtimestamp(float(completed_at.min()), UTC),
        datetime.fromtimestamp(float(completed_at.max()), UTC),
        tuple(np.unique(votes.arrays.version).tolist()),
        agreement.raw_agreement(votes.table()),
    )


def _round_name(number: int) -> str:
    return "outside rounds" if number == NO_ROUND else f"round {number}"


def _version_name(version: int) -> str:
    return f"version {version}" if version else "imported, no version"

"""How far labelers agree on preferences and on ratings, with intervals clustered by comparison.

Agreement is on which completion is better, never on which side of the screen, and each pair counts
in both orientations, so that naming cannot matter. Which judgments go in, and how the numbers are
shown, is left to others.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from app.domain import alpha as krippendorff
from app.domain import bootstrap, kappa, kendall
from app.domain.alpha import Array, Metric
from app.domain.kendall import RankAgreement
from app.domain.levels import Levels, levels
from app.domain.measures import Measure, Undefined
from app.domain.votes import Table, Vote, both_ways, comparison_rows, have_strength, tabulate
from app.errors import Invalid

EXPECTATION = (
    "Trained labelers on real preference data agree 63 to 77 % of the time, which is an alpha of "
    "about 0.3 to 0.55; disagreement is often taste."
)
_NO_STRENGTH = "not every vote is a pick of two with a strength"
_NOT_PICKS = "pairs of one ranking depend on each other; kappa is for picks of two"


@dataclass(frozen=True, slots=True)
class Report:
    """Agreement on preferences.

    ``raw`` is the share of pairs of labelers that say the same of a pair of completions;
    ``decided`` is that among votes that are not ties, the human level. ``alpha`` is nominal where
    nobody tied, ordinal otherwise, as ``metric`` says. ``pairable`` of ``units`` were judged twice
    or more.
    """

    comparisons: int
    judgments: int
    labelers: int
    units: int
    pairable: int
    coverage: float | Undefined
    raw: Measure
    decided: Measure
    alpha: Measure
    metric: Metric
    strength_alpha: Measure
    ranks: RankAgreement
    cohen: float | Undefined
    fleiss: float | Undefined
    levels: Levels | Undefined


@dataclass(frozen=True, slots=True)
class Rating:
    """One labeler's rating of one completion of a comparison on one criterion.

    A thumb is a rating of 1 or 0.
    """

    comparison: Hashable
    completion: Hashable
    labeler: Hashable
    value: float


@dataclass(frozen=True, slots=True)
class RatingReport:
    """Agreement on ratings of one criterion.

    ``raw`` is the share of pairs of labelers that say exactly the same of a completion,
    ``within_one`` of those that are at most one point apart. ``alpha`` is by ``metric``.
    """

    comparisons: int
    judgments: int
    labelers: int
    units: int
    pairable: int
    coverage: float | Undefined
    raw: Measure
    within_one: Measure
    alpha: Measure
    metric: Metric


def report(votes: Iterable[Vote], *, seed: int = 0, resamples: int = bootstrap.RESAMPLES) -> Report:
    """Measure agreement of votes. Raises Invalid where a labeler votes twice on a comparison."""
    given = list(votes)
    table = tabulate(given)
    counts = table.counts
    pairable = int((counts.sum(axis=1) >= 2).sum())
    metric = Metric.ORDINAL if table.has_ties else Metric.NOMINAL
    decided = raw_agreement(table.decided(), seed=seed, resamples=resamples)
    with_strength = bool(given) and have_strength(given)
    return Report(
        comparisons=len(table.comparisons),
        judgments=table.judgments,
        labelers=len(table.labelers),
        units=len(table.owner),
        pairable=pairable,
        coverage=_coverage(pairable, len(table.owner)),
        raw=raw_agreement(table, seed=seed, resamples=resamples),
        decided=decided,
        alpha=preference_alpha(table, metric, seed=seed, resamples=resamples),
        metric=metric,
        strength_alpha=preference_alpha(
            tabulate(given, by_strength=True), Metric.ORDINAL, seed=seed, resamples=resamples
        )
        if with_strength
        else Measure.missing(_NO_STRENGTH),
        ranks=kendall.rank_agreement(given, seed=seed, resamples=resamples),
        cohen=_cohen(table),
        fleiss=_fleiss(table, counts),
        levels=levels(decided.value),
    )


def rating_report(
    ratings: Iterable[Rating],
    *,
    metric: Metric = Metric.ORDINAL,
    seed: int = 0,
    resamples: int = bootstrap.RESAMPLES,
) -> RatingReport:
    """Measure agreement of the ratings of one criterion; the unit is a completion.

    Raises Invalid where a labeler rates a completion twice.
    """
    given = list(ratings)
    units = _rated(given)
    values = sorted({rating.value for rating in given})
    points = np.array(values, dtype=float)
    column = {value: at for at, value in enumerate(values)}
    number: dict[Hashable, int] = {}
    owner = np.array([number.setdefault(c, len(number)) for c, _ in units], dtype=np.int64)
    counts = np.zeros((len(units), len(values)))
    for row, unit in enumerate(units.values()):
        for value in unit.values():
            counts[row, column[value]] += 1
    _, rows = comparison_rows(counts, owner)
    judged = counts.sum(axis=1)
    pairable = judged >= 2
    return RatingReport(
        comparisons=len(number),
        judgments=len(given),
        labelers=len({rating.labeler for rating in given}),
        units=len(units),
        pairable=int(pairable.sum()),
        coverage=_coverage(int(pairable.sum()), len(units)),
        raw=bootstrap.share(_same(rows), seed=seed, resamples=resamples),
        within_one=bootstrap.share(_near(rows, points), seed=seed, resamples=resamples),
        alpha=_alpha(rows, points, metric, float(judged[pairable].sum()), seed, resamples),
        metric=metric,
    )


def shares_with_others(
    ratings: Iterable[Rating], *, reach: float = 0.0
) -> Iterator[tuple[Rating, float]]:
    """Yield each rating with the share of the others that are at most ``reach`` away from it.

    What nobody else rated is left out. Raises Invalid where a labeler rates a completion twice.
    """
    given = list(ratings)
    counts = {name: Counter(unit.values()) for name, unit in _rated(given).items()}
    for rating in given:
        unit = counts[rating.comparison, rating.completion]
        if unit.total() > 1:
            near = sum(n for value, n in unit.items() if abs(value - rating.value) <= reach)
            yield rating, (near - 1) / (unit.total() - 1)


def mean_share(
    shares: Iterable[Sequence[float]], *, seed: int = 0, resamples: int = bootstrap.RESAMPLES
) -> Measure:
    """Measure the mean of shares, those of one comparison together as one."""
    return bootstrap.share([fmean(one) for one in shares], seed=seed, resamples=resamples)


def raw_agreement(table: Table, *, seed: int = 0, resamples: int = bootstrap.RESAMPLES) -> Measure:
    """Measure the share of pairs of labelers that say the same, comparisons weighted equally."""
    _, rows = comparison_rows(table.counts, table.owner)
    return bootstrap.share(_same(rows), seed=seed, resamples=resamples)


def preference_alpha(
    table: Table, metric: Metric, *, seed: int = 0, resamples: int = bootstrap.RESAMPLES
) -> Measure:
    """Measure Krippendorff's alpha of preferences, each pair counted in both orientations."""
    counts = table.counts
    judged = counts.sum(axis=1)
    _, rows = comparison_rows(counts, table.owner)
    values = 2 * float(judged[judged >= 2].sum())
    return _alpha(both_ways(rows), table.values, metric, values, seed, resamples)


def by_comparison(votes: Iterable[Vote]) -> dict[Hashable, float]:
    """Return the raw agreement of each comparison judged twice or more, lowest first."""
    table = tabulate(list(votes))
    which, rows = comparison_rows(table.counts, table.owner)
    same = _same(rows)
    return {table.comparisons[which[at]]: float(same[at]) for at in np.argsort(same, kind="stable")}


def _alpha(
    rows: Array, values: Array, metric: Metric, total: float, seed: int, resamples: int
) -> Measure:
    """Alpha of per-comparison matrices that sum to 1, standing for ``total`` values together."""
    n, width = len(rows), rows.shape[1]
    scale = total / n if n else 0.0
    return bootstrap.measure(
        rows.reshape(n, width * width),
        lambda sums: krippendorff.of_coincidences(
            scale * sums.reshape(-1, width, width), values, metric
        ),
        undefined=krippendorff.ALL_EQUAL,
        seed=seed,
        resamples=resamples,
    )


def _same(rows: Array) -> Array:
    """The share of each matrix on its diagonal."""
    diagonal: Array = np.trace(rows, axis1=1, axis2=2)
    # Shares such as 1/3 + 2/3 may sum past 1 by a rounding error.
    return np.clip(diagonal.round(12), 0.0, 1.0)


def _near(rows: Array, points: Array) -> Array:
    """The share of each matrix whose two values are at most one point apart."""
    near = np.abs(points[:, None] - points[None]) <= 1
    within: Array = (rows * near).sum(axis=(1, 2))
    return np.clip(within.round(12), 0.0, 1.0)


def _rated(
    ratings: Iterable[Rating],
) -> dict[tuple[Hashable, Hashable], dict[Hashable, float]]:
    """Return what each labeler said of each completion of a comparison."""
    units: dict[tuple[Hashable, Hashable], dict[Hashable, float]] = {}
    for rating in ratings:
        unit = units.setdefault((rating.comparison, rating.completion), {})
        if rating.labeler in unit:
            raise Invalid(f"labeler {rating.labeler} rates completion {rating.completion} twice")
        unit[rating.labeler] = rating.value
    return units


def _coverage(pairable: int, units: int) -> float | Undefined:
    return pairable / units if units else Undefined("there are no judgments")


def _cohen(table: Table) -> float | Undefined:
    if table.has_rankings:
        return Undefined(_NOT_PICKS)
    if len(table.labelers) != 2:
        return Undefined(f"Cohen's kappa is for two labelers; there are {len(table.labelers)}")
    said: dict[tuple[int, int], int] = {
        (unit, who): code
        for unit, who, code in zip(
            table.unit.tolist(), table.labeler.tolist(), table.code.tolist(), strict=True
        )
    }
    shared = [
        (said[unit, 0], said[unit, 1])
        for unit in range(len(table.owner))
        if (unit, 0) in said and (unit, 1) in said
    ]
    top = len(table.values) - 1
    return kappa.cohen([*shared, *((top - a, top - b) for a, b in shared)])


def _fleiss(table: Table, counts: Array) -> float | Undefined:
    if table.has_rankings:
        return Undefined(_NOT_PICKS)
    units = [
        [value for value, count in enumerate(row) for _ in range(int(count))]
        for row in np.concatenate([counts, counts[:, ::-1]]).tolist()
    ]
    return kappa.fleiss(units)

"""Agreement among labelers on preferences and on ratings, with intervals clustered by comparison.

Agreement is about which completion is better, never about the side of the screen, and each pair
counts in both orientations, so that the order of the completions cannot matter. Selecting the
judgments and presenting the numbers is left to callers.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from app.domain import bootstrap, kappa, kendall, krippendorff
from app.domain.kendall import RankAgreement
from app.domain.krippendorff import Array, DistanceMetric
from app.domain.measures import Measure, Undefined
from app.domain.noise_ceiling import Levels, levels
from app.domain.votes import Vote, VoteTable, both_ways, comparison_rows, have_strength, tabulate
from app.errors import Invalid

EXPECTATION = (
    "On real preference data, trained labelers agree 63 to 77 % of the time, which corresponds to "
    "an alpha of about 0.3 to 0.55; disagreement is often a matter of taste."
)
_NO_STRENGTH = "not every vote is a pick between two completions with a strength"
_NOT_PICKS = (
    "the pairs of one ranking depend on each other; kappa applies only to picks between two"
)


@dataclass(frozen=True, slots=True)
class PreferenceAgreement:
    """Agreement on preferences.

    ``raw`` is the share of labeler pairs that give the same preference on a pair of completions;
    ``decided`` is the same share among votes that are not ties, which is the human level.
    ``alpha`` is nominal if there are no ties and ordinal otherwise; ``metric`` records which.
    ``pairable`` of the ``units`` were judged at least twice.
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
    metric: DistanceMetric
    strength_alpha: Measure
    ranks: RankAgreement
    cohen: float | Undefined
    fleiss: float | Undefined
    levels: Levels | Undefined


@dataclass(frozen=True, slots=True)
class Rating:
    """One labeler's rating of one completion in a comparison on one criterion.

    A thumb is a rating of 1 (up) or 0 (down).
    """

    comparison: Hashable
    completion: Hashable
    labeler: Hashable
    value: float


@dataclass(frozen=True, slots=True)
class RatingAgreement:
    """Agreement on the ratings of one criterion.

    ``raw`` is the share of labeler pairs that give a completion exactly the same rating,
    ``within_one`` the share whose ratings are at most one point apart. ``alpha`` uses ``metric``.
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
    metric: DistanceMetric


def report(
    votes: Iterable[Vote], *, seed: int = 0, resamples: int = bootstrap.RESAMPLES
) -> PreferenceAgreement:
    """Measure the agreement of votes. Raises Invalid if a labeler votes twice on a comparison."""
    all_votes = list(votes)
    table = tabulate(all_votes)
    counts = table.counts
    pairable = int((counts.sum(axis=1) >= 2).sum())
    metric = DistanceMetric.ORDINAL if table.has_ties else DistanceMetric.NOMINAL
    decided = raw_agreement(table.decided(), seed=seed, resamples=resamples)
    with_strength = bool(all_votes) and have_strength(all_votes)
    return PreferenceAgreement(
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
            tabulate(all_votes, by_strength=True),
            DistanceMetric.ORDINAL,
            seed=seed,
            resamples=resamples,
        )
        if with_strength
        else Measure.missing(_NO_STRENGTH),
        ranks=kendall.rank_agreement(all_votes, seed=seed, resamples=resamples),
        cohen=_cohen(table),
        fleiss=_fleiss(table, counts),
        levels=levels(decided.value),
    )


def rating_report(
    ratings: Iterable[Rating],
    *,
    metric: DistanceMetric = DistanceMetric.ORDINAL,
    seed: int = 0,
    resamples: int = bootstrap.RESAMPLES,
) -> RatingAgreement:
    """Measure the agreement of the ratings of one criterion; the unit is a completion.

    Raises Invalid if a labeler rates a completion twice.
    """
    all_ratings = list(ratings)
    units = _by_unit(all_ratings)
    values = sorted({rating.value for rating in all_ratings})
    points = np.array(values, dtype=float)
    column = {value: index for index, value in enumerate(values)}
    number: dict[Hashable, int] = {}
    owner = np.array(
        [number.setdefault(comparison, len(number)) for comparison, _ in units], dtype=np.int64
    )
    counts = np.zeros((len(units), len(values)))
    for row, unit in enumerate(units.values()):
        for value in unit.values():
            counts[row, column[value]] += 1
    _, rows = comparison_rows(counts, owner)
    judged = counts.sum(axis=1)
    pairable = judged >= 2
    return RatingAgreement(
        comparisons=len(number),
        judgments=len(all_ratings),
        labelers=len({rating.labeler for rating in all_ratings}),
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
    """Yield each rating with the share of the other ratings that lie within ``reach`` of it.

    Completions with a single rating are left out. Raises Invalid if a labeler rates a completion
    twice.
    """
    all_ratings = list(ratings)
    counts = {name: Counter(unit.values()) for name, unit in _by_unit(all_ratings).items()}
    for rating in all_ratings:
        unit = counts[rating.comparison, rating.completion]
        if unit.total() > 1:
            near = sum(n for value, n in unit.items() if abs(value - rating.value) <= reach)
            yield rating, (near - 1) / (unit.total() - 1)


def mean_share(
    shares: Iterable[Sequence[float]], *, seed: int = 0, resamples: int = bootstrap.RESAMPLES
) -> Measure:
    """Measure the mean of shares, averaging those of one comparison first."""
    means = [fmean(comparison_shares) for comparison_shares in shares]
    return bootstrap.share(means, seed=seed, resamples=resamples)


def raw_agreement(
    table: VoteTable, *, seed: int = 0, resamples: int = bootstrap.RESAMPLES
) -> Measure:
    """Measure the share of labeler pairs that agree, weighting comparisons equally."""
    _, rows = comparison_rows(table.counts, table.owner)
    return bootstrap.share(_same(rows), seed=seed, resamples=resamples)


def preference_alpha(
    table: VoteTable, metric: DistanceMetric, *, seed: int = 0, resamples: int = bootstrap.RESAMPLES
) -> Measure:
    """Measure Krippendorff's alpha of preferences, counting each pair in both orientations."""
    counts = table.counts
    judged = counts.sum(axis=1)
    _, rows = comparison_rows(counts, table.owner)
    values = 2 * float(judged[judged >= 2].sum())
    return _alpha(both_ways(rows), table.values, metric, values, seed, resamples)


def by_comparison(votes: Iterable[Vote]) -> dict[Hashable, float]:
    """Return the raw agreement of each comparison judged at least twice, lowest first."""
    table = tabulate(list(votes))
    which, rows = comparison_rows(table.counts, table.owner)
    same = _same(rows)
    order = np.argsort(same, kind="stable")
    return {table.comparisons[which[index]]: float(same[index]) for index in order}


def _alpha(
    rows: Array, values: Array, metric: DistanceMetric, total: float, seed: int, resamples: int
) -> Measure:
    """Compute alpha from per-comparison matrices that sum to 1 and represent ``total`` values."""
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
    """Return the diagonal's share of each matrix."""
    diagonal: Array = np.trace(rows, axis1=1, axis2=2)
    # Shares such as 1/3 + 2/3 may sum past 1 by a rounding error.
    return np.clip(diagonal.round(12), 0.0, 1.0)


def _near(rows: Array, points: Array) -> Array:
    """Return the share of each matrix whose two values are at most one point apart."""
    near = np.abs(points[:, None] - points[None]) <= 1
    within: Array = (rows * near).sum(axis=(1, 2))
    return np.clip(within.round(12), 0.0, 1.0)


def _by_unit(
    ratings: Iterable[Rating],
) -> dict[tuple[Hashable, Hashable], dict[Hashable, float]]:
    """Group ratings by comparison and completion: labeler to value."""
    units: dict[tuple[Hashable, Hashable], dict[Hashable, float]] = {}
    for rating in ratings:
        unit = units.setdefault((rating.comparison, rating.completion), {})
        if rating.labeler in unit:
            raise Invalid(f"labeler {rating.labeler} rates completion {rating.completion} twice")
        unit[rating.labeler] = rating.value
    return units


def _coverage(pairable: int, units: int) -> float | Undefined:
    return pairable / units if units else Undefined("there are no judgments")


def _cohen(table: VoteTable) -> float | Undefined:
    if table.has_rankings:
        return Undefined(_NOT_PICKS)
    if len(table.labelers) != 2:
        return Undefined(f"Cohen's kappa needs exactly two labelers, not {len(table.labelers)}")
    codes: dict[tuple[int, int], int] = {
        (unit, labeler): code
        for unit, labeler, code in zip(
            table.unit.tolist(), table.labeler.tolist(), table.code.tolist(), strict=True
        )
    }
    shared = [
        (codes[unit, 0], codes[unit, 1])
        for unit in range(len(table.owner))
        if (unit, 0) in codes and (unit, 1) in codes
    ]
    top = len(table.values) - 1
    return kappa.cohen([*shared, *((top - a, top - b) for a, b in shared)])


def _fleiss(table: VoteTable, counts: Array) -> float | Undefined:
    if table.has_rankings:
        return Undefined(_NOT_PICKS)
    units = [
        [value for value, count in enumerate(row) for _ in range(int(count))]
        for row in np.concatenate([counts, counts[:, ::-1]]).tolist()
    ]
    return kappa.fleiss(units)

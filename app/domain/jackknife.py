"""Confidence intervals clustered by prompt, by leaving out one cluster at a time.

Judgments of one prompt depend on each other, whichever of its comparisons they are on, so prompts
are the clusters. A statistic is computed from sums of rows, one row of sums per cluster, so leaving
out a cluster is a subtraction and no judgment is read twice. The delete-one-cluster jackknife
(Efron and Tibshirani 1993, chapter 11) gives the standard error, and Student's t with one degree
of freedom fewer than the effective number of clusters gives the width: with few clusters a
percentile bootstrap covers too rarely, and this covers about as often as it says
(`tests/domain/panels.py`). It needs no seed and takes one pass, also for many segments at once:
labelers, pairs of labelers, or groups.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from app.domain import student
from app.domain.krippendorff import Array, Indices, Numbers
from app.domain.measures import LEVEL, Interval, Measure, Undefined, wilson, wilson_bounds

Statistic = Callable[[Array], Array]

MOST_CLUSTERS = 4096
NOTHING = "no comparison has two judgments"
TOO_FEW = "an interval needs judgments on at least two prompts"
NO_SPREAD = "every prompt has the same value, so the spread between prompts is unknown"
ONE_DECIDES = "it rests on a single prompt: without that prompt it has no value"
_NO_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic of one segment, its standard error, and the clusters behind it.

    ``clusters`` is the number of clusters; ``effective`` is smaller where a few of them hold most
    of the weight (Kish 1965). ``error`` is NaN where leaving out one cluster leaves no value.
    """

    value: float
    error: float
    clusters: int
    effective: float

    def reach(self, level: float) -> float | Undefined:
        """Return half the width of a symmetric interval, or the reason why there is none."""
        if self.clusters < 2:
            return Undefined(TOO_FEW)
        if np.isnan(self.error):
            return Undefined(ONE_DECIDES)
        if self.error < _NO_VARIANCE:
            return Undefined(NO_SPREAD)
        return self.quantile(level) * self.error

    def quantile(self, level: float) -> float:
        """Return the quantile of Student's t for an interval at ``level``."""
        return student.quantile((1 + level) / 2, max(self.effective - 1, 1.0))


Bounds = Callable[[Estimate, float], "Interval | Undefined"]


def numbered(names: Iterable[Hashable]) -> Indices:
    """Number names from 0 in the order in which they first appear."""
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names], dtype=np.int64)


def merged(cluster: Numbers, most: int = MOST_CLUSTERS) -> tuple[Numbers, int]:
    """Return the group of each cluster number, and the number of groups, at most about ``most``.

    More clusters than ``most`` are merged at random into groups, by a hash of their numbers, so
    that neighbors in time do not end up evenly spread: that would hide the differences between
    them. Groups of independent clusters are independent too, so nothing but some degrees of freedom
    is lost.
    """
    count = int(cluster.max()) + 1 if len(cluster) else 0
    if count <= most:
        return cluster, count
    bits = most.bit_length() - 1
    return (_mixed(cluster) >> np.uint64(64 - bits)).astype(np.int32), 1 << bits


def _mixed(numbers: Numbers) -> NDArray[np.uint64]:
    """Hash numbers by the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)


def sums(values: Array, cluster: Numbers, clusters: int) -> Array:
    """Sum the rows of ``values``, shape (n, s), by cluster; the result has shape (clusters, s)."""
    columns = [np.bincount(cluster, column, clusters) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((clusters, 0))


def estimates(
    rows: Array, weight: Array, statistic: Statistic, segment: Numbers, segments: int
) -> list[Estimate]:
    """Estimate a statistic in every segment.

    Args:
        rows: Sums of one cluster within one segment, shape (r, s).
        weight: How much each row counts, such as its number of comparisons, shape (r,).
        statistic: Maps sums, shape (b, s), to values (b,); NaN where undefined.
        segment: The segment of each row, shape (r,).
        segments: The number of segments.

    Returns:
        One estimate per segment; the value is NaN where the statistic is undefined.
    """
    kept = weight > 0
    rows, weight, segment = rows[kept], weight[kept], segment[kept]
    totals = sums(rows, segment, segments)
    value = statistic(totals)
    clusters = np.bincount(segment, minlength=segments)
    without = statistic(totals[segment] - rows)
    squares = np.bincount(segment, (without - value[segment]) ** 2, segments)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(squares * (clusters - 1) / clusters)
        heavy = np.bincount(segment, weight, segments) ** 2
        effective = heavy / np.bincount(segment, weight**2, segments)
    return [
        Estimate(*row)
        for row in zip(
            value.tolist(), error.tolist(), clusters.tolist(), effective.tolist(), strict=True
        )
    ]


def measures(
    found: Sequence[Estimate],
    n: Sequence[int],
    bounds: Bounds,
    *,
    nothing: str = NOTHING,
    undefined: str = "",
    level: float = LEVEL,
) -> list[Measure]:
    """Turn estimates into measures of ``n`` comparisons (or trials) each.

    ``nothing`` is the reason for segments without any, ``undefined`` for those whose statistic has
    no value.
    """
    return [
        Measure.missing(nothing)
        if not count
        else Measure.missing(undefined, count)
        if np.isnan(estimate.value)
        else Measure(estimate.value, bounds(estimate, level), count)
        for estimate, count in zip(found, n, strict=True)
    ]


def mean(
    values: Sequence[float] | Array,
    cluster: Numbers | None = None,
    *,
    bounds: "Bounds | None" = None,
    nothing: str = NOTHING,
    level: float = LEVEL,
) -> Measure:
    """Measure the mean of values; without ``cluster``, each value is a cluster of its own."""
    given = np.asarray(values, dtype=float)
    own: Numbers = np.arange(len(given)) if cluster is None else cluster
    group, groups = merged(own)
    rows = sums(np.stack([given, np.ones(len(given))], axis=1), group, groups)
    found = estimates(rows, rows[:, 1], ratio, np.zeros(groups, dtype=np.int64), 1)
    (measure,) = measures(found, [len(given)], bounds or symmetric, nothing=nothing, level=level)
    return measure


def share(
    values: Sequence[float] | Array,
    cluster: Numbers | None = None,
    *,
    nothing: str = NOTHING,
    level: float = LEVEL,
) -> Measure:
    """Measure the mean of shares, or of zeros and ones, with an interval within [0, 1]."""
    return mean(values, cluster, bounds=within_unit, nothing=nothing, level=level)


def shares_of_others(
    values: Array, cluster: Numbers, owner: Indices, owners: int, *, nothing: str = NOTHING
) -> list[Measure]:
    """Measure for each owner of values the mean over all the other owners' values, shares each."""
    group, groups = merged(cluster)
    own = sums(
        np.stack([values, np.ones(len(values))], axis=1), owner * groups + group, owners * groups
    ).reshape(owners, groups, 2)
    others = (own.sum(axis=0) - own).reshape(-1, 2)
    segment = np.repeat(np.arange(owners), groups)
    found = estimates(others, others[:, 1], ratio, segment, owners)
    n = (len(values) - np.bincount(owner, minlength=owners)).tolist()
    return measures(found, n, within_unit, nothing=nothing)


def ratio(sums: Array) -> Array:
    """Return the first column over the last one; NaN where that is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.where(sums[:, -1] > 0, sums[:, 0] / sums[:, -1], np.nan)
    # Shares such as 1/3 + 2/3 may sum past 1, or miss it, by a rounding error.
    whole = np.round(result)
    return np.where(np.abs(result - whole) < _NO_VARIANCE, whole, result)


def symmetric(estimate: Estimate, level: float) -> Interval | Undefined:
    """Return the value plus and minus a multiple of its standard error."""
    reach = estimate.reach(level)
    if isinstance(reach, Undefined):
        return reach
    return Interval(estimate.value - reach, estimate.value + reach, level)


def within_unit(estimate: Estimate, level: float) -> Interval | Undefined:
    """Return Wilson's interval with the effective sample size, for a share within [0, 1].

    The effective sample size is the number of independent trials that would have the same standard
    error (Dean and Pagano 2015, Journal of Survey Statistics and Methodology 3). For a share of
    exactly 0 or 1, which shows no spread, clusters count as trials.
    """
    if estimate.value in (0.0, 1.0):
        return wilson(estimate.value * estimate.clusters, estimate.clusters, level)
    reach = estimate.reach(level)
    if isinstance(reach, Undefined):
        return reach
    trials = estimate.value * (1 - estimate.value) / estimate.error**2
    low, high = wilson_bounds(estimate.value, trials, estimate.quantile(level))
    return Interval(low, high, level)


def within_one(estimate: Estimate, level: float) -> Interval | Undefined:
    """Return an interval within [-1, 1], as `within_unit` of a share stretched to that range."""
    half = Estimate(
        (1 + estimate.value) / 2, estimate.error / 2, estimate.clusters, estimate.effective
    )
    found = within_unit(half, level)
    if isinstance(found, Undefined):
        return found
    return Interval(2 * found.low - 1, 2 * found.high - 1, level)


def below_one(estimate: Estimate, level: float) -> Interval | Undefined:
    """Return an interval of a chance-corrected agreement, which is at most 1.

    Symmetric on the scale of log(1 - value), which is the logarithm of observed over expected
    disagreement.
    """
    reach = estimate.reach(level)
    if isinstance(reach, Undefined):
        return reach
    gap = 1 - estimate.value
    if gap < _NO_VARIANCE:
        return Undefined(NO_SPREAD)
    factor = exp(min(reach / gap, 50.0))
    return Interval(1 - gap * factor, 1 - gap / factor, level)

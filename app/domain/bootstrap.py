"""Confidence intervals by resampling whole comparisons (a cluster bootstrap).

Judgments of one comparison depend on each other, so comparisons are what is resampled. A statistic
is computed from sums of per-comparison rows, so a resample is a weighted sum and no judgment is
read twice. Comparisons with equal rows are drawn together: the multinomial over distinct rows has
the same distribution as drawing them one by one, and ten thousand picks have only a handful of
distinct rows.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.measures import LEVEL, Interval, Measure, Undefined, wilson

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]

RESAMPLES = 1000
NOTHING = "no comparison has two judgments"
# A resample without a value (all judgments equal) is dropped. If more than this share were dropped,
# the percentiles would describe only the resamples that happened to have a value.
_MOST_DROPPED = 0.05
_CELLS_AT_ONCE = 4_000_000


def measure(
    rows: Array,
    statistic: Statistic,
    *,
    undefined: str,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Measure:
    """Measure a statistic of summed rows, with a percentile interval clustered by row.

    Args:
        rows: One row of sufficient statistics per comparison, shape (n, s).
        statistic: Maps sums of n rows, shape (b, s), to values (b,); NaN where undefined.
        undefined: The reason to give if the statistic has no value on the data itself.
        seed: Seed of the resampling; the same seed gives the same interval.
        resamples: How many resamples to draw.
        level: The share of resamples inside the interval.
    """
    n = len(rows)
    if n == 0:
        return Measure.missing(NOTHING)
    point = float(statistic(rows.sum(axis=0, keepdims=True))[0])
    if np.isnan(point):
        return Measure.missing(undefined, n)
    return Measure(point, _interval(rows, statistic, seed, resamples, level), n)


def mean(
    per_comparison: Sequence[float] | Array, *, seed: int, resamples: int = RESAMPLES
) -> Measure:
    """Measure the mean over comparisons of one number each."""
    rows = np.column_stack([np.asarray(per_comparison, dtype=float), np.ones(len(per_comparison))])
    return measure(
        rows,
        lambda sums: sums[:, 0] / sums[:, 1],
        undefined=NOTHING,
        seed=seed,
        resamples=resamples,
    )


def share(
    per_comparison: Sequence[float] | Array, *, seed: int, resamples: int = RESAMPLES
) -> Measure:
    """Measure the mean over comparisons of one share each.

    If every share is 0 or every share is 1, resampling would show no uncertainty at all; the
    interval is Wilson's in that case, with comparisons as trials.
    """
    measured = mean(per_comparison, seed=seed, resamples=resamples)
    if measured.value not in (0.0, 1.0):
        return measured
    return Measure(measured.value, wilson(measured.value * measured.n, measured.n), measured.n)


def _interval(
    rows: Array, statistic: Statistic, seed: int, resamples: int, level: float
) -> Interval | Undefined:
    n = len(rows)
    if n < 2:
        return Undefined("an interval needs at least two comparisons")
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    if len(distinct) == 1:
        return Undefined("every comparison has the same value, so resampling shows no spread")
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS_AT_ONCE // len(distinct))
    drawn = [
        statistic(rng.multinomial(n, counts / n, size=min(chunk, resamples - start)) @ distinct)
        for start in range(0, resamples, chunk)
    ]
    values = np.concatenate(drawn)
    kept = values[~np.isnan(values)]
    if len(kept) < (1 - _MOST_DROPPED) * resamples:
        return Undefined("too few comparisons differ: many resamples have no value to report")
    tail = (1 - level) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return Interval(float(low), float(high), level)

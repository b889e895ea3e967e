"""Intervals by resampling whole comparisons.

Judgments of one comparison depend on each other, so the comparison is what is drawn. A statistic is
computed from sums of per-comparison rows, so a resample is a weighted sum and no judgment is read
twice. Comparisons with equal rows are drawn together: the multinomial over distinct rows has the
same law as drawing them one by one, and ten thousand picks have a handful of distinct rows.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.measures import LEVEL, Interval, Measure, Undefined, wilson

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]

RESAMPLES = 1000
NOTHING = "no comparison has two judgments"
# A resample without a value (all answers equal) is dropped; more of them than this and the
# percentiles would describe the lucky rest.
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
    """Measure a statistic of summed rows with a percentile interval clustered by row.

    Args:
        rows: One row of sufficient statistics per comparison, shape (n, s).
        statistic: Maps sums of n rows, shape (b, s), to values (b,); NaN where undefined.
        undefined: The sentence for a statistic that has no value on the data itself.
        seed: The same seed gives the same interval.
        resamples: How many times the comparisons are drawn.
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
    """Measure the mean of one number per comparison."""
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
    """Measure the mean of one share per comparison.

    Where all comparisons are at 0 or all at 1, resampling would claim certainty; the interval is
    Wilson's then, with comparisons as trials.
    """
    found = mean(per_comparison, seed=seed, resamples=resamples)
    if found.value not in (0.0, 1.0):
        return found
    return Measure(found.value, wilson(found.value * found.n, found.n), found.n)


def _interval(
    rows: Array, statistic: Statistic, seed: int, resamples: int, level: float
) -> Interval | Undefined:
    n = len(rows)
    if n < 2:
        return Undefined("an interval needs at least two comparisons")
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    if len(distinct) == 1:
        return Undefined("every comparison says the same, so resampling shows no spread")
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS_AT_ONCE // len(distinct))
    drawn = [
        statistic(rng.multinomial(n, counts / n, size=min(chunk, resamples - start)) @ distinct)
        for start in range(0, resamples, chunk)
    ]
    values = np.concatenate(drawn)
    kept = values[~np.isnan(values)]
    if len(kept) < (1 - _MOST_DROPPED) * resamples:
        return Undefined("too few comparisons differ: many resamples have no value")
    tail = (1 - level) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return Interval(float(low), float(high), level)

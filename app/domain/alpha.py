"""Krippendorff's alpha from coincidences of values, as plain arrays.

Follows Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), sections C and D: each
unit gives the pairs of values of different judges, divided by one less than the number of its
judges. They come from the counts of each value, so the cost grows with the number of judgments.
What a unit is, and how units are weighted, is left to the caller.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.domain.measures import Undefined
from app.errors import Invalid

Array = NDArray[np.float64]

ALL_EQUAL = "all answers are equal, so chance agreement cannot be told from agreement"
NO_PAIR = "no unit was judged twice"


class Metric(StrEnum):
    """How far apart two values are."""

    NOMINAL = "nominal"
    ORDINAL = "ordinal"
    INTERVAL = "interval"


def alpha(
    units: Iterable[Sequence[Hashable]], metric: Metric = Metric.NOMINAL
) -> float | Undefined:
    """Compute alpha of units, each a list of the values its judges gave, missing ones left out.

    Values must be numbers for the ordinal and interval metrics, or Invalid is raised.
    """
    tallies = [tally for unit in units if (tally := Counter(unit)).total() >= 2]
    if not tallies:
        return Undefined(NO_PAIR)
    values = _sorted_values(tallies, metric)
    column = {value: at for at, value in enumerate(values)}
    counts = np.zeros((len(tallies), len(values)))
    for row, tally in enumerate(tallies):
        for value, count in tally.items():
            counts[row, column[value]] = count
    grid = np.array(values if metric is not Metric.NOMINAL else range(len(values)), dtype=float)
    result = float(of_coincidences(total_coincidences(counts)[None], grid, metric)[0])
    return Undefined(ALL_EQUAL) if np.isnan(result) else result


def coincidences(counts: Array) -> Array:
    """Return each unit's coincidence matrix; its entries sum to the unit's number of values.

    Args:
        counts: How often each value was given, shape (units, values); two values or more a unit.

    Returns:
        Shape (units, values, values), symmetric.
    """
    pairs = counts[:, :, None] * counts[:, None, :]
    at = np.arange(counts.shape[1])
    pairs[:, at, at] -= counts
    scaled: Array = pairs / (counts.sum(axis=1) - 1)[:, None, None]
    return scaled


def total_coincidences(counts: Array) -> Array:
    """Return the sum of ``coincidences`` over units, without the matrices of single units."""
    scaled = counts / (counts.sum(axis=1, keepdims=True) - 1)
    total: Array = scaled.T @ counts - np.diag(scaled.sum(axis=0))
    return total


def of_coincidences(matrices: Array, values: Array, metric: Metric) -> Array:
    """Compute alpha of each coincidence matrix; NaN where expected disagreement is zero.

    Args:
        matrices: Shape (b, v, v), symmetric; the entries of each sum to its number of values n.
        values: The v values in increasing order; unused by the nominal metric.
        metric: How far apart two values are.
    """
    totals = matrices.sum(axis=2)
    n = totals.sum(axis=1)
    distance = _distance(totals, values, metric)
    observed = (matrices * distance).sum(axis=(1, 2))
    expected = np.einsum("bi,bij,bj->b", totals, distance, totals)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.where(expected > 0, 1 - (n - 1) * observed / expected, np.nan)
    return result


def _distance(totals: Array, values: Array, metric: Metric) -> Array:
    """Squared distances between values, shape (b, v, v) or one that broadcasts to it."""
    if metric is Metric.NOMINAL:
        nominal: Array = 1.0 - np.eye(totals.shape[1])[None]
        return nominal
    # The ordinal distance, values from c to k less half the two ends, is the difference of the
    # middle ranks of c and k; so ordinal is interval on middle ranks.
    on = np.cumsum(totals, axis=1) - totals / 2 if metric is Metric.ORDINAL else values[None]
    squared: Array = (on[:, :, None] - on[:, None, :]) ** 2
    return squared


def _sorted_values(tallies: list[Counter[Hashable]], metric: Metric) -> list[Hashable]:
    seen = {value for tally in tallies for value in tally}
    if metric is Metric.NOMINAL:
        return sorted(seen, key=repr)
    for value in seen:
        if not isinstance(value, int | float) or not np.isfinite(value):
            raise Invalid(f"the {metric} metric needs numbers, not {value!r}")
    return sorted(seen)  # type: ignore[type-var]

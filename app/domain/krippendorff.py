"""Krippendorff's alpha from coincidence matrices, as plain arrays.

Follows Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), sections C and D: each
unit contributes the pairs of values from different judges, divided by the number of its judges
minus one. They are computed from the counts of each value, so the cost is linear in the number of
judgments. What a unit is, and how much units weigh beside that, is left to the caller.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Numbers = NDArray[np.signedinteger[Any]]
"""Numbers from 0 in a type that is just wide enough: widen them before arithmetic."""

PART = 1 << 16  # rows that are handled at once, so that memory does not grow with their number
ALL_EQUAL = "all judgments are equal, so agreement cannot be told apart from chance"
NO_PAIR = "nothing was judged twice"
_ROUNDING = 1e-12


class DistanceMetric(StrEnum):
    """How the distance between two values is measured."""

    NOMINAL = "nominal"
    ORDINAL = "ordinal"
    INTERVAL = "interval"


def narrowed(values: NDArray[Any]) -> Numbers:
    """Return integers in the narrowest type that holds them all."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for narrow in (np.int8, np.int16, np.int32):
        if np.iinfo(narrow).min <= low and high <= np.iinfo(narrow).max:
            return values.astype(narrow, copy=False)
    return values.astype(np.int64, copy=False)


def parts(size: int) -> Iterator[slice]:
    """Yield the slices that part an array of this size."""
    return (slice(start, start + PART) for start in range(0, size, PART))


def summed_coincidences(counts: Array, weight: Array, group: Indices, groups: int) -> Array:
    """Sum the weighted coincidence matrices of units by group.

    Args:
        counts: How often each value was given, shape (units, values); at least two per unit.
        weight: Multiplies the matrix of each unit, whose entries otherwise sum to the unit's number
            of values: Krippendorff's own weighting is 1 everywhere. Shape (units,).
        group: The group of each unit, shape (units,).
        groups: The number of groups.

    Returns:
        Shape (groups, values, values), each symmetric.
    """
    width = counts.shape[1]
    scaled = counts * (weight / (counts.sum(axis=1) - 1))[:, None]
    matrices = np.zeros((groups, width, width))
    for first in range(width):
        for second in range(first, width):
            pairs = scaled[:, first] * (counts[:, second] - (first == second))
            matrices[:, first, second] = np.bincount(group, pairs, groups)
            matrices[:, second, first] = matrices[:, first, second]
    return matrices


def of_coincidences(matrices: Array, values: Array, metric: DistanceMetric) -> Array:
    """Compute alpha of each coincidence matrix; NaN where the expected disagreement is zero.

    Args:
        matrices: Shape (b, v, v), symmetric; the entries of each sum to its number of values n.
        values: The v values in increasing order; unused by the nominal metric.
        metric: How the distance between two values is measured.
    """
    totals = matrices.sum(axis=2)
    n = totals.sum(axis=1)
    distance = _distance(totals, values, metric)
    observed = (matrices * distance).sum(axis=(1, 2))
    expected = np.einsum("bi,bij,bj->b", totals, distance, totals)
    # Matrices are sums of fractions: what is left of equal ones may be a rounding error, not zero.
    least = _ROUNDING * n * n * distance.max(axis=(1, 2), initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.where(expected > least, 1 - (n - 1) * observed / expected, np.nan)
    return result


def _distance(totals: Array, values: Array, metric: DistanceMetric) -> Array:
    """Return squared distances between values, of shape (b, v, v) or broadcastable to it."""
    if metric is DistanceMetric.NOMINAL:
        nominal: Array = 1.0 - np.eye(totals.shape[1])[None]
        return nominal
    # The ordinal distance (the number of values from c to k, minus half of both ends) equals the
    # difference of the mid-ranks of c and k, so ordinal is interval on mid-ranks.
    is_ordinal = metric is DistanceMetric.ORDINAL
    positions = np.cumsum(totals, axis=1) - totals / 2 if is_ordinal else values[None]
    squared: Array = (positions[:, :, None] - positions[:, None, :]) ** 2
    return squared

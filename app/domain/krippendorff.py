"""Krippendorff's alpha from coincidence matrices, as plain arrays.

Follows Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), sections C and D: each
unit contributes the pairs of values from different judges, divided by the number of its judges
minus one. They are computed from the counts of each value, so the cost is linear in the number of
judgments. What a unit is, and how units are weighted, is left to the caller.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ALL_EQUAL = "all judgments are equal, so agreement cannot be told apart from chance"
NO_PAIR = "nothing was judged twice"


class DistanceMetric(StrEnum):
    """How the distance between two values is measured."""

    NOMINAL = "nominal"
    ORDINAL = "ordinal"
    INTERVAL = "interval"


def coincidences(counts: Array) -> Array:
    """Return each unit's coincidence matrix; its entries sum to the unit's number of values.

    Args:
        counts: How often each value was given, shape (units, values); at least two per unit.

    Returns:
        Shape (units, values, values), symmetric.
    """
    pairs = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(counts.shape[1])
    pairs[:, diagonal, diagonal] -= counts
    scaled: Array = pairs / (counts.sum(axis=1) - 1)[:, None, None]
    return scaled


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
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.where(expected > 0, 1 - (n - 1) * observed / expected, np.nan)
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

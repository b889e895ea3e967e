"""Coincidence matrices of units, summed by cluster: what every statistic of agreement is read from.

Raw agreement, both alphas and Fleiss' kappa differ in what counts the same where overlap is
unequal, and are otherwise functions of the same sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.domain import jackknife, kappa, krippendorff
from app.domain.jackknife import merged
from app.domain.krippendorff import Array, DistanceMetric, Numbers, parts, summed_coincidences
from app.domain.measures import Measure

Counts = Array | Numbers


class Weighting(StrEnum):
    """What counts the same in a statistic of agreement, where overlap is unequal.

    Krippendorff's alpha counts each judgment the same, so a comparison judged five times counts
    more than one judged twice. Raw agreement counts each comparison the same, whatever its number
    of judgments and of completions. Fleiss' kappa counts each unit the same.
    """

    JUDGMENT = "judgment"
    COMPARISON = "comparison"
    UNIT = "unit"


@dataclass(frozen=True, slots=True)
class Coincidences:
    """Coincidence matrices summed by cluster, of the units judged at least twice.

    ``total`` is the sum over all entries: of judgments of pairs, of comparisons, or of units,
    whichever count the same. ``judged`` is the number of values in those units.
    """

    matrices: Array  # shape (clusters, values, values)
    comparisons: int
    judged: int

    @property
    def total(self) -> float:
        """The sum of all entries."""
        return float(self.matrices.sum())

    @property
    def weight(self) -> Array:
        """The sum of the entries of each cluster."""
        weight: Array = self.matrices.sum(axis=(1, 2))
        return weight

    @property
    def rows(self) -> Array:
        """The matrices as rows, shape (clusters, values²)."""
        count, width, _ = self.matrices.shape
        return self.matrices.reshape(count, width * width)

    def both_ways(self) -> "Coincidences":
        """Add to each matrix its counterpart for the completions in the opposite order."""
        doubled = self.matrices + self.matrices[:, ::-1, ::-1]
        return Coincidences(doubled, self.comparisons, 2 * self.judged)


def of_units(
    counts: Counts, owner: Numbers, cluster: Numbers, weighting: Weighting
) -> Coincidences:
    """Sum the coincidence matrices of the units judged at least twice by cluster.

    Args:
        counts: How often each unit got each value, shape (units, values).
        owner: The comparison of each unit.
        cluster: The cluster of each comparison; very many are merged.
        weighting: What counts the same.
    """
    width = counts.shape[1]
    kept = counts.sum(axis=1) >= 2
    units = np.bincount(owner[kept], minlength=len(cluster))
    group, groups = merged(cluster)
    matrices, total = np.zeros((groups, width, width)), 0
    for part in parts(len(owner)):
        is_kept = kept[part]
        of_part, comparison = counts[part][is_kept].astype(float), owner[part][is_kept]
        judged = of_part.sum(axis=1)
        weight = np.ones(len(comparison))
        if weighting is not Weighting.JUDGMENT:
            weight /= judged
        if weighting is Weighting.COMPARISON:
            weight /= units[comparison]
        matrices += summed_coincidences(of_part, weight, group[comparison], groups)
        total += int(judged.sum())
    return Coincidences(matrices, int((units > 0).sum()), total)


def share(
    found: Coincidences, near: NDArray[np.bool_] | None = None, *, nothing: str = ""
) -> Measure:
    """Measure the share of the diagonal, or of the entries where ``near`` is true."""
    width = found.matrices.shape[1]
    kept = (np.eye(width, dtype=bool) if near is None else near).reshape(-1)
    rows = np.stack([found.rows @ kept, found.weight], axis=1)
    return _measure(found, rows, jackknife.ratio, jackknife.within_unit, nothing)


def alpha(
    found: Coincidences, values: Array, metric: DistanceMetric, *, nothing: str = ""
) -> Measure:
    """Measure Krippendorff's alpha; the small-sample term uses the number of values judged."""
    width = len(values)
    scale = found.judged / found.total if found.total else 0.0

    def statistic(sums: Array) -> Array:
        matrices = scale * sums.reshape(-1, width, width)
        return krippendorff.of_coincidences(matrices, values, metric)

    return _measure(found, found.rows, statistic, jackknife.below_one, nothing)


def fleiss(found: Coincidences, *, nothing: str = "") -> Measure:
    """Measure Fleiss' kappa of matrices in which each unit counts the same."""
    width = found.matrices.shape[1]

    def statistic(sums: Array) -> Array:
        return kappa.of_matrices(sums.reshape(-1, width, width))

    return _measure(found, found.rows, statistic, jackknife.below_one, nothing)


def _measure(
    found: Coincidences,
    rows: Array,
    statistic: Callable[[Array], Array],
    bounds: jackknife.Bounds,
    nothing: str,
) -> Measure:
    if not found.comparisons:
        return Measure.missing(nothing or jackknife.NOTHING)
    one_segment = np.zeros(len(rows), dtype=np.int64)
    estimates = jackknife.estimates(rows, found.weight, statistic, one_segment, 1)
    (measure,) = jackknife.measures(
        estimates,
        [found.comparisons],
        bounds,
        undefined=krippendorff.ALL_EQUAL,
    )
    return measure

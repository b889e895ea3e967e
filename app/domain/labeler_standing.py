"""Labelers whose judgments contradict the others': what agreement alone can tell, without gold.

Two tests on choices, ties aside, each at a level corrected for the number of labelers (Bonferroni):

1. Whether a labeler agrees with the others less often than chance. The null hypothesis is a coin:
   whichever response it picks, its agreement with the others on that comparison is as far above
   one half as below, so the signs of the differences are random and independent between
   comparisons, those of one prompt included.
2. Whether they agree with the others far less than the others agree with each other on the same
   comparisons. That interval is clustered by prompt.

A difference of taste can do the same, so the results are remarks for people to read.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.domain import jackknife
from app.domain.jackknife import Estimate
from app.domain.krippendorff import Array, Indices, Numbers
from app.domain.labeler_agreement import (
    against_others,
    by_labeler,
    labeler_clusters,
    measure_one,
)
from app.domain.measures import Interval, Measure
from app.domain.votes import VoteTable

Booleans = NDArray[np.bool_]

CHANCE_LEVEL = 0.05
"""The probability of calling any of a panel of coins contrary; honest labelers are far above."""
FALSE_REMARKS = 0.02
"""The probability of any other remark, by one test, on any labeler of an honest panel."""
FAR_BELOW = 0.1
NO_THIRD = "no comparison has choices of two others"


@dataclass(frozen=True, slots=True)
class LabelerStanding:
    """One labeler's choices against the others'.

    ``with_others`` is how often another labeler who chose on the same pair chose the same,
    ``others`` how often two others did so on those pairs. ``labelers`` are compared in all; with
    two, nobody can tell whose judgments are contrary.
    """

    labeler: Hashable
    with_others: Measure
    others: Measure
    is_below_chance: bool
    is_far_below_others: bool
    labelers: int


def remark_level(labelers: int) -> float:
    """Return the level of two-sided intervals that decide on remarks in a panel of this size."""
    return 1 - FALSE_REMARKS / max(labelers, 1)


def standings(table: VoteTable) -> tuple[LabelerStanding, ...]:
    """Compare each labeler's choices with the others'."""
    decided = table.decided()
    count = len(table.labelers)
    level = remark_level(count)
    shares = (rows.share() for rows in against_others(decided))
    below = _below_chance(decided)
    return tuple(
        LabelerStanding(labeler, share, others, is_below, n > 0 and _is_gap(gap, level), count)
        for labeler, share, is_below, (n, others, gap) in zip(
            table.labelers, shares, below, _against_pairs_of_others(decided), strict=True
        )
    )


def contrary(
    values: Array, unit: Indices, labeler: Indices, comparison: Indices, labelers: int
) -> Booleans:
    """Return which labelers give high values where the others give low ones.

    For ratings and thumbs, where chance depends on how often a labeler gives each value: the
    covariance with the mean of the others' values is compared with its own spread, comparison by
    comparison.

    Args:
        values: The values given.
        unit: What each value was given to: a completion on one criterion, shape as ``values``.
        labeler: Who gave each value, as a number below ``labelers``.
        comparison: The comparison of each value.
        labelers: The number of labelers.
    """
    size = int(unit.max(initial=-1)) + 1
    judged = np.bincount(unit, minlength=size)
    kept = judged[unit] >= 2
    values = values[kept]
    unit, labeler, comparison = unit[kept], labeler[kept], comparison[kept]
    others = (np.bincount(unit, values, size)[unit] - values) / np.maximum(judged[unit] - 1, 1)
    products = _centered(values, labeler, labelers) * _centered(others, labeler, labelers)
    order = np.argsort(labeler, kind="stable")
    ends = np.cumsum(np.bincount(labeler, minlength=labelers))[:-1]
    return np.array(
        [
            _sign_is_negative(products[own], comparison[own], labelers)
            for own in (np.split(order, ends) if labelers else ())
        ],
        dtype=bool,
    )


def _below_chance(decided: VoteTable) -> Iterator[bool]:
    counts = decided.counts()
    judged = counts.sum(axis=1)
    for everything in by_labeler(decided):
        own = everything.shared(judged)
        share = (counts[own.unit, own.code] - 1) / (judged[own.unit] - 1)
        yield _sign_is_negative(share - 0.5, own.owner, len(decided.labelers))


def _sign_is_negative(values: Array, comparison: Numbers, labelers: int) -> bool:
    """Test whether means of comparisons are negative more than random signs make them.

    Each comparison counts the same, however many pairs a ranking has. A sum of numbers with random
    signs exceeds a multiple of the root of the sum of their squares no more often than a normal
    variable would, up to a small factor (Hoeffding 1963). One of so many labelers is tested.
    """
    _, place = np.unique(comparison, return_inverse=True)
    by_comparison = np.bincount(place, values) / np.bincount(place)
    spread = np.sqrt((by_comparison**2).sum())
    limit = NormalDist().inv_cdf(CHANCE_LEVEL / max(labelers, 1))
    return bool(by_comparison.sum() < (limit * spread if spread > 0 else -1.0))


def _centered(values: Array, labeler: Indices, labelers: int) -> Array:
    means = np.bincount(labeler, values, labelers) / np.maximum(
        np.bincount(labeler, minlength=labelers), 1
    )
    centered: Array = values - means[labeler]
    return centered


def _against_pairs_of_others(table: VoteTable) -> Iterator[tuple[int, Measure, Estimate]]:
    """Compare agreement with the others and among them, where at least two others chose.

    Yields for each labeler the number of such comparisons, the agreement among the others, and the
    estimated difference.
    """
    counts = table.counts()
    judged = counts.sum(axis=1)
    cluster, clusters = labeler_clusters(table, len(table.labelers))
    segment = np.zeros(clusters, dtype=np.int64)
    for everything in by_labeler(table):
        own = everything.shared(judged, 3)
        m = judged[own.unit]
        of_unit = counts[own.unit].astype(np.int64)
        same = counts[own.unit, own.code].astype(np.int64) - 1
        pairs = (of_unit * (of_unit - 1)).sum(axis=1)
        with_others = same / (m - 1)
        among = (pairs - 2 * same) / ((m - 1) * (m - 2))
        weight, n = own.weights(has_rankings=table.has_rankings)
        columns = np.stack([weight * (with_others - among), weight * among, weight], axis=1)
        rows = jackknife.sums(columns, cluster[own.owner], clusters)
        (gap,) = jackknife.estimates(rows[:, [0, 2]], rows[:, 2], jackknife.ratio, segment, 1)
        others = measure_one(
            rows[:, 1:], jackknife.ratio, n, jackknife.within_unit, nothing=NO_THIRD
        )
        yield n, others, gap


def _is_gap(gap: Estimate, level: float) -> bool:
    found = jackknife.symmetric(gap, level)
    return isinstance(found, Interval) and found.high < -FAR_BELOW

"""Agreement on whole rankings: Kendall's tau-b and W, and agreement on first place."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from app.domain import jackknife
from app.domain.krippendorff import Array, Indices, Numbers
from app.domain.measures import Measure, Undefined
from app.domain.ranking import Ranking
from app.domain.votes import VoteTable

NO_RANKING = "no comparison of three or more responses was ranked twice"
_ALL_TIED = "all responses are tied, so there is no ordering to compare"


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """Means over comparisons, each of which counts the same.

    ``tau`` and ``top1`` are means over the labeler pairs of a comparison first. ``w`` is Kendall's
    coefficient of concordance of all rankings of a comparison, from 0 to 1; it depends on their
    number, and is (1 + rho) / 2 for two, where rho is Spearman's correlation.
    """

    tau: Measure
    top1: Measure
    w: Measure


def tau_b(first: Ranking, second: Ranking) -> float | Undefined:
    """Compute Kendall's tau-b of two rankings of the same completions (Kendall 1945)."""
    a, b = first.signs, second.signs
    untied = sum(x * x for x in a) * sum(y * y for y in b)
    if untied == 0:
        return Undefined(_ALL_TIED)
    return sum(x * y for x, y in zip(a, b, strict=True)) / sqrt(untied)


def rank_agreement(table: VoteTable) -> RankAgreement:
    """Measure agreement on comparisons of three or more completions.

    A labeler pair in which one tied everything has no tau and is left out of its mean. First places
    agree if exactly the same completions share them.
    """
    if not table.has_rankings:
        return RankAgreement(*(Measure.missing(NO_RANKING) for _ in range(3)))
    kept = table.units_of_comparison[table.entry_owner] > 1
    rankings = _Rankings.of_entries(table, kept)
    return RankAgreement(
        _mean(table, rankings.tau(), jackknife.within_one),
        _mean(table, rankings.top1(), jackknife.within_unit),
        _mean(table, rankings.w(), jackknife.within_unit),
    )


@dataclass(frozen=True, slots=True)
class _Rankings:
    """Entries of rankings with their signs, and judgments numbered from 0 with their comparison."""

    unit: Numbers
    judgment: Indices
    sign: Array
    comparison: Numbers  # of each judgment
    owner: Numbers  # of each unit
    first: Indices  # the position of the first completion of each unit
    second: Indices
    comparisons: int

    @classmethod
    def of_entries(cls, table: VoteTable, kept: NDArray[np.bool_]) -> "_Rankings":
        judgment = table.judgment[kept]
        _, start, number = np.unique(judgment, return_index=True, return_inverse=True)
        first, second = _positions(table.units_of_comparison)
        return cls(
            table.unit[kept],
            number.astype(np.int64),
            np.sign(table.values[table.code[kept]]),
            table.entry_owner[kept][start],
            table.owner,
            first,
            second,
            len(table.comparisons),
        )

    def tau(self) -> Array:
        """Return the mean tau-b of the labeler pairs of each comparison, NaN where there is none.

        With each judgment's signs scaled to length 1, tau-b of two judgments is a scalar product,
        and those of all pairs sum to half of the squared length of the sum minus the number.
        """
        length = np.sqrt(np.bincount(self.judgment, self.sign**2))
        scaled = self.sign / np.maximum(length, 1.0)[self.judgment]
        together = np.bincount(self.unit, scaled, len(self.owner))
        squared = np.bincount(self.owner, together**2, self.comparisons)
        n = np.bincount(self.comparison, length > 0, self.comparisons)
        return _over(squared - n, n * (n - 1))

    def top1(self) -> Array:
        """Return the share of the labeler pairs of each comparison that agree on first place."""
        beaten = np.zeros((len(self.comparison), int(self.second.max()) + 1), dtype=bool)
        wins, losses = self.sign > 0, self.sign < 0
        beaten[self.judgment[wins], self.second[self.unit[wins]]] = True
        beaten[self.judgment[losses], self.first[self.unit[losses]]] = True
        packed = np.packbits(beaten, axis=1).astype(np.int64)
        alike = np.column_stack([self.comparison, packed])
        groups, times = np.unique(alike, axis=0, return_counts=True)
        same = np.bincount(groups[:, 0], times * (times - 1), self.comparisons)
        n = np.bincount(self.comparison, minlength=self.comparisons)
        return _over(same, n * (n - 1))

    def w(self) -> Array:
        """Return Kendall's W of each comparison ranked twice, with the correction for ties."""
        width = int(self.second.max()) + 1
        # Half of wins minus losses is the distance of a completion's mid-rank from the middle.
        score = np.zeros((len(self.comparison), width))
        np.add.at(score, (self.judgment, self.first[self.unit]), self.sign / 2)
        np.add.at(score, (self.judgment, self.second[self.unit]), -self.sign / 2)
        together = np.zeros((self.comparisons, width))
        np.add.at(together, self.comparison, score)
        n = np.bincount(self.comparison, minlength=self.comparisons)
        spread = np.bincount(self.comparison, (score**2).sum(axis=1), self.comparisons)
        return np.where(n > 1, _over((together**2).sum(axis=1), n * spread), np.nan)


def _positions(units: Indices) -> tuple[Indices, Indices]:
    """Return the positions of both completions of each unit within their comparison."""
    first = np.zeros(int(units.sum()), dtype=np.int64)
    second = first.copy()
    starts = np.cumsum(units) - units
    for size in np.unique(units[units > 0]):
        completions = round((1 + sqrt(1 + 8 * int(size))) / 2)
        places = starts[units == size][:, None] + np.arange(size)
        first[places], second[places] = np.triu_indices(completions, 1)
    return first, second


def _mean(table: VoteTable, values: Array, bounds: jackknife.Bounds) -> Measure:
    which = np.flatnonzero(~np.isnan(values))
    if not len(which):
        twice = np.bincount(table.entry_owner, minlength=len(values)) > table.units_of_comparison
        any_twice = bool((twice & (table.units_of_comparison > 1)).any())
        return Measure.missing(_ALL_TIED if any_twice else NO_RANKING)
    return jackknife.mean(values[which], table.cluster[which], bounds=bounds)


def _over(numerator: Array | Numbers, denominator: Array | Numbers) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.where(denominator > 0, numerator / denominator, np.nan)
    return result

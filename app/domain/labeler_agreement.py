"""Agreement of each labeler with the others, and of each pair of labelers.

Every function goes through one table labeler by labeler, so that what it holds beside the table is
in proportion to the judgments of one labeler. The numbers inform people and may serve as vote
weights; nothing here excludes anyone.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from app.domain import jackknife, kappa
from app.domain.krippendorff import (
    ALL_EQUAL,
    Array,
    Indices,
    Numbers,
    narrowed,
    of_coincidences,
    parts,
)
from app.domain.measures import Measure
from app.domain.votes import VoteTable

FEWEST_FOR_ALPHA = 30
ALONE = "nobody else judged any of their comparisons"
_MOST_CELLS = 5_000_000  # clusters are merged further where labelers, pairs or values are many
_LEAST_CLUSTERS = 64


@dataclass(frozen=True, slots=True)
class LabelerAgreement:
    """One labeler against the others, on the comparisons shared with at least one of them.

    Alpha is undefined below thirty such comparisons.
    """

    labeler: Hashable
    raw: Measure
    alpha: Measure


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two labelers on the comparisons that both judged, each of which counts the same.

    ``kappa`` is Cohen's. Each pair of completions that a preference is between counts in both
    orientations.
    """

    first: Hashable
    second: Hashable
    raw: Measure
    kappa: Measure


@dataclass(frozen=True, slots=True)
class OwnVotes:
    """One labeler's entries in a table: their units, codes and comparisons."""

    unit: Numbers
    code: Numbers
    owner: Numbers

    def shared(self, judged: Indices, least: int = 2) -> "OwnVotes":
        """Return the entries of units with at least so many judgments."""
        kept = judged[self.unit] >= least
        return OwnVotes(self.unit[kept], self.code[kept], self.owner[kept])

    def weights(self, *, has_rankings: bool) -> tuple[Array, int]:
        """Return weights that sum to 1 for each comparison, and the number of comparisons."""
        if not has_rankings:  # a pick is one entry
            return np.ones(len(self.unit)), len(self.unit)
        names, place = np.unique(self.owner, return_inverse=True)
        return 1.0 / np.bincount(place)[place], len(names)


@dataclass(frozen=True, slots=True)
class LabelerRows:
    """Matrices of one labeler that sum to 1 per comparison, summed by prompt.

    ``matrices`` holds the labeler's value in rows and the others' in columns, shape (rows, values,
    values). ``n`` is the number of comparisons that the labeler shares with others, and ``units``
    that of pairs of completions.
    """

    matrices: Array
    n: int
    units: int

    @property
    def weight(self) -> Array:
        """The number of comparisons in each row."""
        weight: Array = self.matrices.sum(axis=(1, 2))
        return weight

    def share(self) -> Measure:
        """Measure how often others give the same value."""
        same = np.trace(self.matrices, axis1=1, axis2=2)
        rows = np.stack([same, self.weight], axis=1)
        return measure_one(rows, jackknife.ratio, self.n, jackknife.within_unit, nothing=ALONE)


def with_others(table: VoteTable) -> tuple[LabelerAgreement, ...]:
    """Measure each labeler's agreement with all the others."""
    return tuple(
        LabelerAgreement(labeler, rows.share(), _alpha(table, rows))
        for labeler, rows in zip(table.labelers, against_others(table), strict=True)
    )


def by_labeler(table: VoteTable) -> Iterator[OwnVotes]:
    """Yield the entries of each labeler, in the order of the table."""
    order = narrowed(np.argsort(table.labeler, kind="stable"))
    ends = np.cumsum(np.bincount(table.labeler, minlength=len(table.labelers)))
    for start, end in zip([0, *ends.tolist()], ends.tolist(), strict=False):
        places = order[start:end]
        unit = table.unit[places]
        yield OwnVotes(unit, table.code[places], table.owner[unit])


def in_pairs(table: VoteTable, *, both_ways: bool = True) -> tuple[PairAgreement, ...]:
    """Measure every pair of labelers who share a comparison: the cells of the heat map.

    ``both_ways`` is for preferences: each counts in both orientations of its pair. Pairs are
    measured labeler by labeler, so that memory does not grow with the number of judgments.
    """
    units = _Units.of(table)
    met = sum(len(np.unique(units.meetings(table, at).other)) for at in range(len(table.labelers)))
    cluster, clusters = labeler_clusters(table, met)
    of_comparison = table.units_of_comparison
    return tuple(
        pair
        for at in range(len(table.labelers))
        for pair in _pairs_of_one(
            table, units.meetings(table, at), at, (cluster, clusters), of_comparison, both_ways
        )
    )


@dataclass(frozen=True, slots=True)
class _Meetings:
    """A labeler's units that somebody later in the list judged too: who, and both codes in one."""

    other: Indices
    unit: Numbers
    codes: Indices


@dataclass(frozen=True, slots=True)
class _Units:
    """The entries of a table in the order of their units, and each labeler's units."""

    labeler: Numbers
    code: Numbers
    starts: Numbers
    judged: Numbers
    own: tuple[tuple[Numbers, Numbers], ...]  # each labeler's units and codes

    @classmethod
    def of(cls, table: VoteTable) -> "_Units":
        order = narrowed(np.argsort(table.unit, kind="stable"))
        judged = np.bincount(table.unit, minlength=len(table.owner))
        return cls(
            table.labeler[order],
            table.code[order],
            narrowed(np.cumsum(judged) - judged),
            narrowed(judged),
            tuple((own.unit, own.code) for own in by_labeler(table)),
        )

    def meetings(self, table: VoteTable, labeler: int) -> _Meetings:
        unit, code = self.own[labeler]
        shared = self.judged[unit] >= 2
        unit, code = unit[shared], code[shared]
        times = self.judged[unit].astype(np.int64)
        ends = np.cumsum(times)
        within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - times, times)
        places = np.repeat(self.starts[unit], times) + within
        other = self.labeler[places].astype(np.int64)
        later = other > labeler
        codes = np.repeat(code, times)[later].astype(np.int64) * len(table.values)
        return _Meetings(
            other[later], np.repeat(unit, times)[later], codes + self.code[places[later]]
        )


def _pairs_of_one(
    table: VoteTable,
    met: _Meetings,
    labeler: int,
    clustering: tuple[Numbers, int],
    units_of_comparison: Indices,
    both_ways: bool,
) -> Iterator[PairAgreement]:
    """Measure the pairs of a labeler with those later in the list."""
    others, pair = np.unique(met.other, return_inverse=True)
    (cluster, clusters), width, count = clustering, len(table.values), len(others)
    owner = table.owner[met.unit]
    weight = 1.0 / units_of_comparison[owner]
    cells = (pair * clusters + cluster[owner]) * width**2 + met.codes
    flat = np.bincount(cells, weight, count * clusters * width**2).astype(float)
    matrices: Array = flat.reshape(-1, width, width)
    if both_ways:
        matrices = matrices + matrices[:, ::-1, ::-1]
    segment = np.repeat(np.arange(count), clusters)
    n = np.bincount(pair, weight, count).round().astype(int).tolist()
    total = matrices.sum(axis=(1, 2))
    raw_rows: Array = np.stack([np.trace(matrices, axis1=1, axis2=2), total], axis=1)
    raw = jackknife.estimates(raw_rows, total, jackknife.ratio, segment, count)
    kappas = jackknife.estimates(
        matrices.reshape(-1, width * width),
        total,
        lambda sums: kappa.of_matrices(sums.reshape(-1, width, width)),
        segment,
        count,
    )
    for other, share, cohen in zip(
        others.tolist(),
        jackknife.measures(raw, n, jackknife.within_unit),
        jackknife.measures(kappas, n, jackknife.below_one, undefined=ALL_EQUAL),
        strict=True,
    ):
        yield PairAgreement(table.labelers[labeler], table.labelers[other], share, cohen)


def flipped_majorities(table: VoteTable) -> dict[Hashable, int]:
    """Count the comparisons in which leaving out a labeler changes some pair's majority.

    A majority that becomes a draw, or a draw that becomes a majority, counts as changed.
    """
    sign_of = np.sign(table.values)
    balance = np.zeros(len(table.owner))
    for part in parts(len(table.unit)):
        np.add.at(balance, table.unit[part], sign_of[table.code[part]])
    times: dict[Hashable, int] = {}
    for labeler, own in zip(table.labelers, by_labeler(table), strict=True):
        before = balance[own.unit]
        changed = np.sign(before) != np.sign(before - sign_of[own.code])
        times[labeler] = len(np.unique(own.owner[changed]))
    return times


def against_others(table: VoteTable) -> Iterator[LabelerRows]:
    """Yield each labeler's coincidences with the others.

    Each unit holds two values, the labeler's and the distribution of the others'. A comparison
    counts the same however many units it has.
    """
    width, counts = len(table.values), table.counts()
    judged = counts.sum(axis=1)
    cluster, clusters = labeler_clusters(table, len(table.labelers))
    for everything in by_labeler(table):
        own = everything.shared(judged)
        weight, n = own.weights(has_rankings=table.has_rankings)
        weight = weight / (judged[own.unit] - 1)
        cells = cluster[own.owner].astype(np.int64) * width + own.code
        matrices = np.zeros((clusters, width, width))
        for value in range(width):
            others = weight * (counts[own.unit, value] - (own.code == value))
            matrices[:, :, value] = np.bincount(cells, others, clusters * width).reshape(-1, width)
        yield LabelerRows(matrices, n, len(own.unit))


def labeler_clusters(table: VoteTable, segments: int) -> tuple[Numbers, int]:
    """Return the group of each comparison's prompt; fewer groups where segments are very many."""
    cells = max(segments, 1) * len(table.values) ** 2
    most = max(_MOST_CELLS // max(cells, 1), _LEAST_CLUSTERS)
    return jackknife.merged(table.cluster, min(most, jackknife.MOST_CLUSTERS))


def measure_one(
    rows: Array,
    statistic: jackknife.Statistic,
    n: int,
    bounds: jackknife.Bounds,
    *,
    nothing: str = "",
    undefined: str = "",
) -> Measure:
    """Measure a statistic of one segment; the last column is the weight of its rows."""
    segment = np.zeros(len(rows), dtype=np.int64)
    estimates = jackknife.estimates(rows, rows[:, -1], statistic, segment, 1)
    (measure,) = jackknife.measures(estimates, [n], bounds, nothing=nothing, undefined=undefined)
    return measure


def _alpha(table: VoteTable, found: LabelerRows) -> Measure:
    """Measure a labeler's alpha, with both completions in both orders."""
    if 0 < found.n < FEWEST_FOR_ALPHA:
        few = f"alpha needs at least {FEWEST_FOR_ALPHA} shared comparisons, not {found.n}"
        return Measure.missing(few, found.n)
    width = len(table.values)
    both = found.matrices + found.matrices.transpose(0, 2, 1)
    both = both + both[:, ::-1, ::-1]
    # Four values per unit: the labeler's and the others', in both orientations.
    scale = found.units / max(found.n, 1)
    (estimate,) = jackknife.estimates(
        both.reshape(-1, width * width) * scale,
        both.sum(axis=(1, 2)),
        lambda sums: of_coincidences(sums.reshape(-1, width, width), table.values, table.metric),
        np.zeros(len(both), dtype=np.int64),
        1,
    )
    (measure,) = jackknife.measures(
        [estimate], [found.n], jackknife.below_one, nothing=ALONE, undefined=ALL_EQUAL
    )
    return measure

"""Agreement of each labeler with the others, and of each pair of labelers.

Every function takes one pass over one table, whatever the number of labelers. The numbers inform
people and may serve as vote weights; nothing here excludes anyone.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from app.domain import jackknife, kappa
from app.domain.krippendorff import ALL_EQUAL, Array, Indices, of_coincidences
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
class SegmentedRows:
    """Matrices that sum to 1 per comparison, summed by labeler and prompt.

    ``matrices`` holds the labeler's value in rows and the others' in columns, shape (rows, values,
    values); ``segment`` is the labeler of each row. ``n`` is the number of comparisons that each
    labeler shares with others, and ``units`` that of pairs of completions.
    """

    matrices: Array
    segment: Indices
    n: list[int]
    units: Array

    @property
    def weight(self) -> Array:
        """The number of comparisons in each row."""
        weight: Array = self.matrices.sum(axis=(1, 2))
        return weight


def with_others(table: VoteTable) -> tuple[LabelerAgreement, ...]:
    """Measure each labeler's agreement with all the others."""
    found = against_others(table)
    rows = np.stack([np.trace(found.matrices, axis1=1, axis2=2), found.weight], axis=1)
    raw = jackknife.estimates(rows, found.weight, jackknife.ratio, found.segment, len(found.n))
    shares = jackknife.measures(raw, found.n, jackknife.within_unit, nothing=ALONE)
    return tuple(
        LabelerAgreement(labeler, share, alpha)
        for labeler, share, alpha in zip(table.labelers, shares, _alphas(table, found), strict=True)
    )


def in_pairs(table: VoteTable, *, both_ways: bool = True) -> tuple[PairAgreement, ...]:
    """Measure every pair of labelers who share a comparison: the cells of the heat map.

    ``both_ways`` is for preferences: each counts in both orientations of its pair.
    """
    count, width = len(table.labelers), len(table.values)
    first, second, unit, codes = _pairs_of_entries(table)
    if not len(unit):
        return ()
    met = np.bincount(first * count + second, minlength=count**2) > 0
    keys = np.flatnonzero(met)
    pair = (np.cumsum(met) - 1)[first * count + second]
    cluster, clusters = labeler_clusters(table, len(keys))
    owner = table.owner[unit]
    weight = 1.0 / table.units_of_comparison[owner]
    row, rows = pair * clusters + cluster[owner], len(keys) * clusters
    cells = np.bincount(row * width**2 + codes, weight, rows * width**2).astype(float)
    matrices: Array = cells.reshape(-1, width, width)
    if both_ways:
        matrices = matrices + matrices[:, ::-1, ::-1]
    segment = np.repeat(np.arange(len(keys)), clusters)
    n = np.bincount(pair, weight, len(keys)).round().astype(int).tolist()
    total = matrices.sum(axis=(1, 2))
    raw_rows: Array = np.stack([np.trace(matrices, axis1=1, axis2=2), total], axis=1)
    raw = jackknife.estimates(raw_rows, total, jackknife.ratio, segment, len(keys))
    kappas = jackknife.estimates(
        matrices.reshape(-1, width * width),
        total,
        lambda sums: kappa.of_matrices(sums.reshape(-1, width, width)),
        segment,
        len(keys),
    )
    return tuple(
        PairAgreement(table.labelers[key // count], table.labelers[key % count], share, cohen)
        for key, share, cohen in zip(
            keys.tolist(),
            jackknife.measures(raw, n, jackknife.within_unit),
            jackknife.measures(kappas, n, jackknife.below_one, undefined=ALL_EQUAL),
            strict=True,
        )
    )


def flipped_majorities(table: VoteTable) -> dict[Hashable, int]:
    """Count the comparisons in which leaving out a labeler changes some pair's majority.

    A majority that becomes a draw, or a draw that becomes a majority, counts as changed.
    """
    signs = np.sign(table.values[table.code])
    balance = np.bincount(table.unit, signs, len(table.owner))[table.unit]
    changed = np.sign(balance) != np.sign(balance - signs)
    comparisons = max(len(table.comparisons), 1)
    key = np.unique(table.labeler[changed] * comparisons + table.entry_owner[changed])
    times = np.bincount(key // comparisons, minlength=len(table.labelers))
    return dict(zip(table.labelers, times.tolist(), strict=True))


def against_others(table: VoteTable) -> SegmentedRows:
    """Return each labeler's coincidences with the others.

    Each unit holds two values, the labeler's and the distribution of the others'. A comparison
    counts the same however many units it has.
    """
    count, width = len(table.labelers), len(table.values)
    counts = table.counts
    judged = counts.sum(axis=1)
    entries = np.flatnonzero(judged[table.unit] >= 2)
    unit, labeler, code = table.unit[entries], table.labeler[entries], table.code[entries]
    owner = table.owner[unit]
    weight, n = per_comparison(table, labeler, owner)
    weight = weight / (judged[unit] - 1)
    cluster, clusters = labeler_clusters(table, count)
    row, rows = labeler * clusters + cluster[owner], count * clusters
    matrices = np.zeros((rows, width, width))
    for value in range(width):
        others = weight * (counts[unit, value] - (code == value))
        flat = np.bincount(row * width + code, others, rows * width)
        matrices[:, :, value] = flat.reshape(-1, width)
    return SegmentedRows(
        matrices,
        np.repeat(np.arange(count), clusters),
        n,
        np.bincount(labeler, minlength=count).astype(float),
    )


def per_comparison(table: VoteTable, labeler: Indices, owner: Indices) -> tuple[Array, list[int]]:
    """Return the weight of entries that sum to 1 for each labeler's comparison, and their number.

    Args:
        table: The table of the entries.
        labeler: The labeler of each entry.
        owner: The comparison of each entry.
    """
    count = len(table.labelers)
    if not table.has_rankings:  # a pick is one entry
        return np.ones(len(labeler)), np.bincount(labeler, minlength=count).tolist()
    key = labeler * max(len(table.comparisons), 1) + owner
    _, start, judgment = np.unique(key, return_index=True, return_inverse=True)
    n = np.bincount(labeler[start], minlength=count)
    return 1.0 / np.bincount(judgment)[judgment], n.tolist()


def labeler_clusters(table: VoteTable, segments: int) -> tuple[Indices, int]:
    """Return the group of each comparison's prompt; fewer groups where segments are very many."""
    cells = max(segments, 1) * len(table.values) ** 2
    most = max(_MOST_CELLS // max(cells, 1), _LEAST_CLUSTERS)
    return jackknife.merged(table.cluster, min(most, jackknife.MOST_CLUSTERS))


def _alphas(table: VoteTable, found: SegmentedRows) -> Iterator[Measure]:
    """Yield each labeler's alpha, with both completions in both orders."""
    width = len(table.values)
    both = found.matrices + found.matrices.transpose(0, 2, 1)
    both = both + both[:, ::-1, ::-1]
    # Four values per unit: the labeler's and the others', in both orientations.
    scale = found.units / np.maximum(np.array(found.n, dtype=float), 1.0)
    rows = both.reshape(-1, width * width) * scale[found.segment][:, None]
    estimates = jackknife.estimates(
        rows,
        both.sum(axis=(1, 2)),
        lambda sums: of_coincidences(sums.reshape(-1, width, width), table.values, table.metric),
        found.segment,
        len(found.n),
    )
    measured = jackknife.measures(
        estimates, found.n, jackknife.below_one, nothing=ALONE, undefined=ALL_EQUAL
    )
    for measure, n in zip(measured, found.n, strict=True):
        few = f"alpha needs at least {FEWEST_FOR_ALPHA} shared comparisons, not {n}"
        yield Measure.missing(few, n) if 0 < n < FEWEST_FOR_ALPHA else measure


def _pairs_of_entries(table: VoteTable) -> tuple[Indices, Indices, Indices, Indices]:
    """Return every two entries of a unit: both labelers, the unit, and both codes in one number."""
    order = np.lexsort((table.labeler, table.unit))
    unit, labeler, code = table.unit[order], table.labeler[order], table.code[order]
    judged = np.bincount(unit, minlength=len(table.owner))
    starts = np.cumsum(judged) - judged
    left, right = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for size in np.unique(judged[judged > 1]):
        base = starts[judged == size][:, None]
        first, second = np.triu_indices(int(size), 1)
        left.append((base + first).ravel())
        right.append((base + second).ravel())
    a, b = np.concatenate(left), np.concatenate(right)
    return labeler[a], labeler[b], unit[a], code[a] * len(table.values) + code[b]

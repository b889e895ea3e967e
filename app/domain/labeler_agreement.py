"""Agreement of each labeler with the others, and of each pair of labelers.

The numbers inform people and may serve as vote weights; nothing here excludes anyone.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from app.domain import bootstrap
from app.domain.krippendorff import ALL_EQUAL, Array, DistanceMetric, of_coincidences
from app.domain.measures import Measure, share
from app.domain.votes import Indices, Vote, VoteTable, both_ways, tabulate
from app.errors import Invalid

FEWEST_FOR_ALPHA = 30
ALONE = "nobody else judged any of their comparisons"


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
    """Two labelers on the comparisons that both judged, with Wilson's interval."""

    first: Hashable
    second: Hashable
    raw: Measure


def with_others(
    votes: Iterable[Vote], *, seed: int = 0, resamples: int = bootstrap.RESAMPLES
) -> tuple[LabelerAgreement, ...]:
    """Measure each labeler's agreement with all the others."""
    table = tabulate(list(votes))
    counts = table.counts
    metric = DistanceMetric.ORDINAL if table.has_ties else DistanceMetric.NOMINAL
    shared = counts.sum(axis=1)[table.unit] >= 2
    return tuple(
        _with_others(
            table,
            counts,
            np.flatnonzero(shared & (table.labeler == index)),
            labeler,
            metric,
            seed,
            resamples,
        )
        for index, labeler in enumerate(table.labelers)
    )


def in_pairs(votes: Iterable[Vote]) -> tuple[PairAgreement, ...]:
    """Measure every pair of labelers who share a comparison: the cells of the heat map."""
    order: dict[Hashable, int] = {}
    by_comparison: defaultdict[Hashable, list[Vote]] = defaultdict(list)
    for vote in votes:
        order.setdefault(vote.labeler, len(order))
        by_comparison[vote.comparison].append(vote)
    sums: defaultdict[tuple[Hashable, Hashable], float] = defaultdict(float)
    counts: defaultdict[tuple[Hashable, Hashable], int] = defaultdict(int)
    for comparison_votes in by_comparison.values():
        ordered = sorted(comparison_votes, key=lambda vote: order[vote.labeler])
        for a, b in combinations(ordered, 2):
            x, y = a.ranking.signs, b.ranking.signs
            pair = (a.labeler, b.labeler)
            sums[pair] += sum(p == q for p, q in zip(x, y, strict=True)) / len(x)
            counts[pair] += 1
    return tuple(
        PairAgreement(a, b, share(min(sums[a, b], n), n, ALONE))
        for (a, b), n in sorted(
            counts.items(), key=lambda item: (order[item[0][0]], order[item[0][1]])
        )
    )


def flipped_majorities(votes: Iterable[Vote], labeler: Hashable) -> int:
    """Count the comparisons in which leaving out one labeler changes some pair's majority.

    A majority that becomes a draw, or a draw that becomes a majority, counts as changed. Raises
    Invalid for a labeler without votes.
    """
    table = tabulate(list(votes))
    if labeler not in table.labelers:
        raise Invalid(f"labeler {labeler} has no votes")
    signs = table.values[table.code]
    theirs = table.labeler == table.labelers.index(labeler)
    balance = np.bincount(table.unit, signs, len(table.owner))
    without = balance - np.bincount(table.unit[theirs], signs[theirs], len(table.owner))
    return len(np.unique(table.owner[np.sign(balance) != np.sign(without)]))


def _with_others(
    table: VoteTable,
    counts: Array,
    entries: Indices,
    labeler: Hashable,
    metric: DistanceMetric,
    seed: int,
    resamples: int,
) -> LabelerAgreement:
    if len(entries) == 0:
        return LabelerAgreement(labeler, Measure.missing(ALONE), Measure.missing(ALONE))
    rows = _rows(table, counts, entries)
    same = np.clip(np.trace(rows, axis1=1, axis2=2).round(12), 0.0, 1.0)
    raw = bootstrap.share(same, seed=seed, resamples=resamples)
    if len(rows) < FEWEST_FOR_ALPHA:
        few = f"alpha needs at least {FEWEST_FOR_ALPHA} shared comparisons, not {len(rows)}"
        return LabelerAgreement(labeler, raw, Measure.missing(few, len(rows)))
    # Each unit holds two values, the labeler's and the others', counted in both orientations.
    n, width, scale = len(rows), len(table.values), 4 * len(entries) / len(rows)
    alpha = bootstrap.measure(
        both_ways(rows).reshape(n, width * width),
        lambda sums: of_coincidences(scale * sums.reshape(-1, width, width), table.values, metric),
        undefined=ALL_EQUAL,
        seed=seed,
        resamples=resamples,
    )
    return LabelerAgreement(labeler, raw, alpha)


def _rows(table: VoteTable, counts: Array, entries: Indices) -> Array:
    """Return a labeler's coincidences with the others: per comparison a matrix that sums to 1."""
    unit, code = table.unit[entries], table.code[entries]
    others = counts[unit]
    others[np.arange(len(unit)), code] -= 1
    others /= others.sum(axis=1, keepdims=True)
    which, place = np.unique(table.owner[unit], return_inverse=True)
    rows = np.zeros((len(which), len(table.values), len(table.values)))
    np.add.at(rows, (place, code), others)
    rows /= np.bincount(place)[:, None, None]
    symmetric: Array = (rows + rows.transpose(0, 2, 1)) / 2
    return symmetric

"""Votes as arrays, with one entry per labeler and pair of completions in a comparison.

A unit is an unordered pair of completions within a comparison. Its value is the preference between
the two in canonical order: +1, 0 or -1, optionally times the strength. The statistics that use
the arrays are in other modules.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.krippendorff import Array, coincidences
from app.domain.ranking import Ranking, Strength
from app.errors import Invalid

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Vote:
    """One labeler's ranking of one comparison, in canonical order.

    The caller leaves out adjudications, gold, practice, repeats and judgments that imply no
    preference.
    """

    comparison: Hashable
    labeler: Hashable
    ranking: Ranking
    strength: Strength | None = None


@dataclass(frozen=True, slots=True)
class VoteTable:
    """Votes as parallel arrays: entry e gives unit ``unit[e]`` the code ``code[e]``.

    ``owner[u]`` is the comparison of unit u and ``values[c]`` the signed value of code c. Values
    are symmetric about 0, so reversing the codes reverses every preference.
    """

    comparisons: tuple[Hashable, ...]
    labelers: tuple[Hashable, ...]
    unit: Indices
    labeler: Indices
    code: Indices
    owner: Indices
    values: Array
    judgments: int
    has_rankings: bool

    @property
    def counts(self) -> Array:
        """The number of times each unit got each value, shape (units, values)."""
        width = len(self.values)
        flat = np.bincount(self.unit * width + self.code, minlength=len(self.owner) * width)
        return flat.reshape(-1, width).astype(float)

    @property
    def has_ties(self) -> bool:
        """Whether anyone judged a pair *about the same*."""
        return bool((self.code == len(self.values) // 2).any())

    def decided(self) -> "VoteTable":
        """Return the table without ties; the units keep their indices."""
        kept = self.code != len(self.values) // 2
        return VoteTable(
            self.comparisons,
            self.labelers,
            self.unit[kept],
            self.labeler[kept],
            self.code[kept],
            self.owner,
            self.values,
            self.judgments,
            self.has_rankings,
        )


def tabulate(votes: Sequence[Vote], *, by_strength: bool = False) -> VoteTable:
    """Expand votes into the pairs that they imply.

    With ``by_strength``, values range from ±1 to ±4 and every vote that is not a tie needs a
    strength. Raises Invalid if a labeler votes twice on a comparison, or if rankings of the same
    comparison differ in length.
    """
    reach = max(Strength) if by_strength else 1
    comparisons: dict[Hashable, tuple[int, int, int]] = {}  # number, first unit, length
    labelers: dict[Hashable, int] = {}
    seen: set[tuple[int, int]] = set()
    owner: list[int] = []
    unit: list[int] = []
    voters: list[int] = []
    code: list[int] = []
    for vote in votes:
        signs = vote.ranking.signs
        length = len(vote.ranking.ranks)
        known = comparisons.get(vote.comparison)
        if known is None:
            known = (len(comparisons), len(owner), length)
            comparisons[vote.comparison] = known
            owner.extend([known[0]] * len(signs))
        if known[2] != length:
            raise Invalid(
                f"comparison {vote.comparison} has rankings of {known[2]} and of {length} "
                "completions"
            )
        labeler = labelers.setdefault(vote.labeler, len(labelers))
        if (known[0], labeler) in seen:
            raise Invalid(f"labeler {vote.labeler} votes twice on comparison {vote.comparison}")
        seen.add((known[0], labeler))
        weight = _weight(vote) if by_strength else 1
        unit.extend(range(known[1], known[1] + len(signs)))
        voters.extend([labeler] * len(signs))
        code.extend(reach + sign * weight for sign in signs)
    return VoteTable(
        tuple(comparisons),
        tuple(labelers),
        np.array(unit, dtype=np.int64),
        np.array(voters, dtype=np.int64),
        np.array(code, dtype=np.int64),
        np.array(owner, dtype=np.int64),
        np.arange(-reach, reach + 1, dtype=float),
        len(votes),
        any(length > 2 for _, _, length in comparisons.values()),
    )


def have_strength(votes: Iterable[Vote]) -> bool:
    """Whether every vote is a pick with a strength or a tie."""
    return all(
        len(vote.ranking.ranks) == 2 and (vote.strength is not None or not any(vote.ranking.signs))
        for vote in votes
    )


def comparison_rows(counts: Array, owner: Indices) -> tuple[Indices, Array]:
    """Average the coincidence matrices of each comparison's units that were judged at least twice.

    Args:
        counts: How often each unit got each value, shape (units, values).
        owner: The comparison of each unit.

    Returns:
        The comparisons that have such a unit, and for each a matrix whose entries sum to 1, so
        that every comparison counts the same, whatever its number of pairs and judgments. With
        equal overlap this is Krippendorff's own weighting. With unequal overlap it departs from
        it, so that alpha and raw agreement use the same weights.
    """
    judged = counts.sum(axis=1)
    pairable = judged >= 2
    matrices = coincidences(counts[pairable]) / judged[pairable][:, None, None]
    which, place = np.unique(owner[pairable], return_inverse=True)
    rows = np.zeros((len(which), counts.shape[1], counts.shape[1]))
    np.add.at(rows, place, matrices)
    return which, rows / np.bincount(place, minlength=len(which))[:, None, None]


def both_ways(rows: Array) -> Array:
    """Average each matrix with its counterpart for the completions in the opposite order."""
    symmetric: Array = (rows + rows[:, ::-1, ::-1]) / 2
    return symmetric


def _weight(vote: Vote) -> int:
    if vote.strength is None and any(vote.ranking.signs):
        raise Invalid(f"the vote of {vote.labeler} on {vote.comparison} has no strength")
    return int(vote.strength or 0)

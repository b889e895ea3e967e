"""Votes as arrays, with one entry per labeler and pair of completions in a comparison.

A unit is an unordered pair of completions within a comparison. Its value is the preference between
the two in canonical order: +1, 0 or -1, optionally times the strength. The statistics that use
the arrays are in other modules.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.krippendorff import Array, DistanceMetric, Indices, Numbers, parts
from app.domain.ranking import Ranking, Strength
from app.errors import Invalid


@dataclass(frozen=True, slots=True)
class Vote:
    """One labeler's ranking of one comparison, in canonical order.

    The caller leaves out adjudications, gold, practice, repeats and judgments that imply no
    preference. ``prompt`` is what intervals are clustered by; without it, the comparison is.
    """

    comparison: Hashable
    labeler: Hashable
    ranking: Ranking
    strength: Strength | None = None
    prompt: Hashable = None

    @property
    def cluster(self) -> Hashable:
        """The prompt, or without it the comparison, told apart from any prompt."""
        return ("alone", self.comparison) if self.prompt is None else ("", self.prompt)


@dataclass(frozen=True, slots=True)
class VoteTable:
    """Votes as parallel arrays: entry e gives unit ``unit[e]`` the code ``code[e]``.

    ``owner[u]`` is the comparison of unit u, ``cluster[k]`` the prompt of comparison k, as numbers
    from 0, and ``values[c]`` the signed value of code c. Values are symmetric about 0, so reversing
    the codes reverses every preference. The units of a comparison follow each other, in the order
    of ``itertools.combinations``.
    """

    comparisons: Sequence[Hashable]
    labelers: tuple[Hashable, ...]
    unit: Numbers
    labeler: Numbers
    code: Numbers
    owner: Numbers
    cluster: Numbers
    values: Array
    judgments: int
    has_rankings: bool

    def counts(self) -> Numbers:
        """Count how often each unit got each value, shape (units, values)."""
        judged = np.bincount(self.unit, minlength=len(self.owner))
        is_few = int(judged.max(initial=0)) < 1 << 7
        width = len(self.values)
        counts: Numbers = np.zeros(len(self.owner) * width, np.int8 if is_few else np.int64)
        for part in parts(len(self.unit)):
            np.add.at(counts, self.unit[part].astype(np.int64) * width + self.code[part], 1)
        of_units: Numbers = counts.reshape(len(self.owner), width)
        return of_units

    @property
    def entry_owner(self) -> Numbers:
        """The comparison of each entry."""
        return self.owner[self.unit]

    @property
    def judgment(self) -> Indices:
        """The judgment that each entry belongs to, as a number from 0."""
        key = self.entry_owner.astype(np.int64) * max(len(self.labelers), 1) + self.labeler
        numbers: Indices = np.unique(key, return_inverse=True)[1].astype(np.int64)
        return numbers

    @property
    def units_of_comparison(self) -> Indices:
        """The number of units of each comparison."""
        units: Indices = np.bincount(self.owner, minlength=len(self.comparisons))
        return units

    @property
    def has_ties(self) -> bool:
        """Whether anyone judged a pair *about the same*."""
        return bool((self.code == len(self.values) // 2).any())

    @property
    def metric(self) -> DistanceMetric:
        """The metric of alpha: nominal without ties, where two values have no order."""
        return DistanceMetric.ORDINAL if self.has_ties else DistanceMetric.NOMINAL

    @property
    def is_all_ties(self) -> bool:
        """Whether there are judgments, and every one of them is a tie."""
        return bool(len(self.code)) and bool((self.code == len(self.values) // 2).all())

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
            self.cluster,
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
    prompts: dict[Hashable, int] = {}
    cluster: list[int] = []
    code: list[int] = []
    for vote in votes:
        signs = vote.ranking.signs
        length = len(vote.ranking.ranks)
        known = comparisons.get(vote.comparison)
        if known is None:
            known = (len(comparisons), len(owner), length)
            comparisons[vote.comparison] = known
            owner.extend([known[0]] * len(signs))
            cluster.append(prompts.setdefault(vote.cluster, len(prompts)))
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
        np.array(cluster, dtype=np.int64),
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


def _weight(vote: Vote) -> int:
    if vote.strength is None and any(vote.ranking.signs):
        raise Invalid(f"the vote of {vote.labeler} on {vote.comparison} has no strength")
    return int(vote.strength or 0)

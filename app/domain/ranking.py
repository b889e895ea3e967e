"""Orderings of k completions with ties, and the preferences that they imply.

Completions are numbered 0 to k - 1 in the comparison's canonical order, which is fixed when the
comparison is created; the order on screen plays no part here. A pick is a ranking of two.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from itertools import combinations

from app.errors import Invalid

FEWEST, MOST = 2, 9


class Side(StrEnum):
    """The better of two completions, named by canonical order."""

    A = "a"
    B = "b"
    TIE = "tie"


class Strength(IntEnum):
    """How much better the better one is."""

    NEGLIGIBLE = 1
    SLIGHT = 2
    CLEAR = 3
    STRONG = 4


@dataclass(frozen=True, slots=True)
class Preference:
    """One pair that a judgment implies; with ``tie`` neither comes before the other."""

    preferred: int
    other: int
    tie: bool = False
    strength: Strength | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """An ordering with ties: ``ranks[i]`` is 1 plus the number of completions better than i.

    These are standard competition ranks, so (1, 2, 2, 4) is a ranking and (1, 2, 2, 3) is not.
    Raises Invalid for fewer than two or more than nine completions, or other numbers.
    """

    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_count(len(self.ranks))
        expected = _competition(self.ranks)
        if self.ranks != expected:
            raise Invalid(f"ranks {self.ranks} must be written {expected}: 1 + how many are better")

    @classmethod
    def of_positions(cls, positions: Sequence[float]) -> "Ranking":
        """Rank by any numbers, smaller is better and equal is tied."""
        return cls(_competition(tuple(positions)))

    @classmethod
    def of_groups(
        cls, groups: Sequence[Sequence[Hashable]], candidates: Sequence[Hashable]
    ) -> "Ranking":
        """Rank by groups of candidates, best group first; a group of several is a tie.

        ``candidates`` are the comparison's own names, in canonical order. Raises Invalid unless
        each is named exactly once.
        """
        place: dict[Hashable, int] = {}
        for at, group in enumerate(groups):
            for name in group:
                if name in place:
                    raise Invalid(f"ranking names completion {name} twice")
                place[name] = at
        for name in place:
            if name not in candidates:
                raise Invalid(f"ranking names completion {name}, which is not in the comparison")
        for name in candidates:
            if name not in place:
                raise Invalid(f"ranking leaves out completion {name}")
        return cls.of_positions([place[name] for name in candidates])

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Completions from best to worst, tied ones together in canonical order."""
        return tuple(
            tuple(i for i, rank in enumerate(self.ranks) if rank == level)
            for level in sorted(set(self.ranks))
        )

    @property
    def first(self) -> frozenset[int]:
        """The completion in first place, or all that share it."""
        return frozenset(self.groups[0])

    @property
    def signs(self) -> tuple[int, ...]:
        """+1, 0 or -1 for each pair i < j in lexical order: i better, tied, j better."""
        return tuple((b > a) - (b < a) for a, b in combinations(self.ranks, 2))

    def preferences(self) -> tuple[Preference, ...]:
        """Return the k(k-1)/2 pairs this implies, preferred first, by rank and then by number."""
        order = sorted(range(len(self.ranks)), key=lambda i: (self.ranks[i], i))
        return tuple(
            Preference(a, b, tie=self.ranks[a] == self.ranks[b]) for a, b in combinations(order, 2)
        )


@dataclass(frozen=True, slots=True)
class Pick:
    """The better of two, and optionally by how much. A tie has no strength."""

    preferred: Side
    strength: Strength | None = None

    def __post_init__(self) -> None:
        if self.preferred is Side.TIE and self.strength is not None:
            raise Invalid(f"a tie has no strength, but {int(self.strength)} was given")

    @property
    def ranking(self) -> Ranking:
        """The same as a ranking of two."""
        return Ranking({Side.A: (1, 2), Side.B: (2, 1), Side.TIE: (1, 1)}[self.preferred])

    def preferences(self) -> tuple[Preference, ...]:
        """Return the one pair this implies, with its strength."""
        (pair,) = self.ranking.preferences()
        return (Preference(pair.preferred, pair.other, pair.tie, self.strength),)


def strength_of(value: int) -> Strength:
    """Read a strength from a number. Raises Invalid outside 1 to 4."""
    if isinstance(value, bool) or value not in tuple(Strength):
        raise Invalid(f"strength must be 1 to 4, not {value}")
    return Strength(value)


@lru_cache(maxsize=4096)
def _competition(positions: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(1 + sum(other < mine for other in positions) for mine in positions)


def _check_count(count: int) -> None:
    if not FEWEST <= count <= MOST:
        raise Invalid(f"a ranking has {FEWEST} to {MOST} completions, not {count}")

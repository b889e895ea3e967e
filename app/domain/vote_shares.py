"""The votes on a comparison: for each pair of completions, and for each one alone.

On a pair, every vote is in one of four camps: it prefers the first, finds both about the same,
prefers the second, or states no preference (both bad).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import combinations
from typing import Protocol

from app.domain.ranking import Ranking


class RankedVote(Protocol):
    """The part of a vote that implies pairs, from the database or from a file."""

    @property
    def ranking(self) -> Ranking | None:
        """The order it gives, if any."""

    @property
    def strength(self) -> int | None:
        """How much better the better one is, 1 to 4."""

    @property
    def margin(self) -> float | None:
        """The lead of the better one in the unit of an imported file."""


class AbsoluteVote(Protocol):
    """The part of a vote about single completions, from the database or from a file."""

    @property
    def ratings(self) -> Mapping[str, Sequence[int]] | None:
        """The rating of each completion, by criterion."""

    @property
    def thumb(self) -> str | None:
        """Up or down, of the one completion."""


class Camp(Enum):
    """What a vote says about a pair."""

    FIRST = "first"
    TIE = "tie"
    SECOND = "second"
    NEITHER = "neither"  # no preference: both bad


_CAMPS = tuple(Camp)
_Said = tuple[tuple[int, ...], int | None, float | None]


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """Two completions by canonical position, and the votes between them.

    `share` is the vote share of the first; a tie counts half for each, and votes without a
    preference do not count. `votes` are those that count in the share. `strength` is the mean
    strength (1 to 4) of the votes that are not ties, None if none states it; `margin` likewise is
    the mean of the margins in an imported file. `agreement` is the share of the most frequent vote
    among all votes, those without a preference included.
    """

    first: int
    second: int
    share: float
    votes: int
    agreement: float
    strength: float | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class PairVotes:
    """The number of votes in each camp on a pair of completions, by canonical position."""

    first: int
    second: int
    for_first: int
    ties: int
    for_second: int
    neither: int
    strength: float | None = None
    margin: float | None = None

    @property
    def votes(self) -> int:
        """The number of all votes."""
        return self.for_first + self.ties + self.for_second + self.neither

    @property
    def agreement(self) -> float:
        """The share of the largest camp among all votes."""
        return max(self.for_first, self.ties, self.for_second, self.neither) / self.votes

    @property
    def largest(self) -> tuple[Camp, ...]:
        """The camp with the most votes, or all that share the lead."""
        return _largest((self.for_first, self.ties, self.for_second, self.neither))

    @property
    def lead(self) -> float:
        """The lead of the first over the second, in shares of all votes: -1 to 1."""
        return (self.for_first - self.for_second) / self.votes

    def for_training(self) -> TrainingPair | None:
        """Return the vote share to train on; None if no vote states a preference or a tie."""
        ordered = self.for_first + self.ties + self.for_second
        if not ordered:
            return None
        share = (self.for_first + self.ties / 2) / ordered
        return TrainingPair(
            self.first, self.second, share, ordered, self.agreement, self.strength, self.margin
        )


@dataclass(frozen=True, slots=True)
class TrainingAbsolute:
    """Absolute judgments of one completion: mean ratings, and the share of thumbs up.

    `ratings` are by criterion, on the project's scale; `thumb` is None without thumbs.
    """

    ratings: Mapping[str, float] = field(default_factory=dict)
    thumb: float | None = None


def absolutes(votes: Sequence[AbsoluteVote], k: int) -> tuple[TrainingAbsolute, ...]:
    """Return the mean ratings by criterion and the share of thumbs up of each of k completions."""
    if not any(vote.ratings or vote.thumb for vote in votes):
        return ()
    return tuple(_absolute(votes, place) for place in range(k))


def _absolute(votes: Sequence[AbsoluteVote], place: int) -> TrainingAbsolute:
    rated: dict[str, list[int]] = {}
    for vote in votes:
        for name, ratings in (vote.ratings or {}).items():
            rated.setdefault(name, []).append(ratings[place])
    thumbs = [vote.thumb == "up" for vote in votes if vote.thumb is not None]
    return TrainingAbsolute(
        {name: sum(given) / len(given) for name, given in sorted(rated.items())},
        sum(thumbs) / len(thumbs) if thumbs else None,
    )


def camps(votes: Iterable[RankedVote], k: int) -> tuple[PairVotes, ...]:
    """Count the votes on every pair of k completions by camp; empty if no vote gives an order.

    A vote without an order counts if it says that both are bad.
    """
    ranked, neither = [], 0
    for vote in votes:
        if vote.ranking is not None:
            ranked.append((vote.ranking.ranks, vote.strength, vote.margin))
        else:
            neither += getattr(vote, "both_bad", False)
    return _camps(tuple(ranked), neither, k) if ranked else ()


@lru_cache(maxsize=4096)
def _camps(ranked: tuple[_Said, ...], neither: int, k: int) -> tuple[PairVotes, ...]:
    """Count ranks, each with the strength and margin of its vote; the same few come up often."""
    return tuple([_counted(ranked, neither, *places) for places in combinations(range(k), 2)])


def pairs(votes: Iterable[RankedVote], k: int) -> tuple[TrainingPair, ...]:
    """Return the vote share of every pair of k completions; ties count half for each."""
    shares = (pair.for_training() for pair in camps(votes, k))
    return tuple(share for share in shares if share is not None)


def settled_pairs(ranking: Ranking, votes: int) -> tuple[TrainingPair, ...]:
    """Return the pairs of a settlement: share 1, 0 or 0.5, whatever the votes say."""
    return tuple(
        TrainingPair(first, second, (sign + 1) / 2, max(votes, 1), 1.0)
        for (first, second), sign in zip(
            combinations(range(len(ranking.ranks)), 2), ranking.signs, strict=True
        )
    )


@lru_cache(maxsize=4096)
def _largest(sizes: tuple[int, ...]) -> tuple[Camp, ...]:
    most = max(sizes)
    return tuple([camp for camp, size in zip(_CAMPS, sizes, strict=True) if size == most])


def _counted(ranked: Sequence[_Said], neither: int, first: int, second: int) -> PairVotes:
    for_first = ties = for_second = 0
    strengths: list[int] = []
    margins: list[float] = []
    for ranks, strength, margin in ranked:
        a, b = ranks[first], ranks[second]
        if a == b:
            ties += 1
            continue
        if a < b:
            for_first += 1
        else:
            for_second += 1
        if strength is not None:
            strengths.append(strength)
        if margin is not None:
            margins.append(margin)
    mean_strength = sum(strengths) / len(strengths) if strengths else None
    mean_margin = sum(margins) / len(margins) if margins else None
    return PairVotes(
        first, second, for_first, ties, for_second, neither, mean_strength, mean_margin
    )

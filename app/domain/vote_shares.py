"""The votes on a comparison as shares: for each pair of completions, and for each one alone."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """Two completions by canonical position, and the votes between them.

    `share` is the vote share of the first; a tie counts half for each. `strength` is the mean
    strength (1 to 4) of the votes that are not ties, None if none states it; `margin` likewise is
    the mean of the margins in an imported file. `agreement` is the share of the most frequent vote.
    """

    first: int
    second: int
    share: float
    votes: int
    agreement: float
    strength: float | None = None
    margin: float | None = None


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


def pairs(votes: Iterable[RankedVote], k: int) -> tuple[TrainingPair, ...]:
    """Return the vote share of every pair of k completions; ties count half for each."""
    ranked = [vote for vote in votes if vote.ranking is not None]
    if not ranked:
        return ()
    return tuple(_pair(ranked, first, second) for first, second in combinations(range(k), 2))


def _pair(votes: Sequence[RankedVote], first: int, second: int) -> TrainingPair:
    camps: Counter[int] = Counter()
    strengths: list[int] = []
    margins: list[float] = []
    for vote in votes:
        assert vote.ranking is not None
        a, b = vote.ranking.ranks[first], vote.ranking.ranks[second]
        sign = (b > a) - (b < a)
        camps[sign] += 1
        if sign and vote.strength is not None:
            strengths.append(vote.strength)
        if sign and vote.margin is not None:
            margins.append(vote.margin)
    total = camps.total()
    return TrainingPair(
        first,
        second,
        share=(camps[1] + camps[0] / 2) / total,
        votes=total,
        agreement=max(camps.values()) / total,
        strength=sum(strengths) / len(strengths) if strengths else None,
        margin=sum(margins) / len(margins) if margins else None,
    )

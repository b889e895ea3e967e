"""A leaderboard of sources from votes between them: strengths, win rates, ranks, and how sure.

Sources that no chain of votes connects cannot be compared; each connected group has a scale of its
own, on which the mean strength is 0. Win rates are those that the model of `source_strengths`
expects, with ties as half a win: against each other source, or on average over all of them. Which
votes count is left to the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import NormalDist

import numpy as np

from app.domain import source_strengths, strength_draws, student
from app.domain.gates.judging import HALF_WIDTH_MOST
from app.domain.krippendorff import Array, Indices, narrowed
from app.domain.measures import LEVEL, Interval, Measure, Undefined
from app.domain.source_strengths import Floats
from app.domain.strength_draws import SourceVotes, StrengthDraws

FEWEST_PROMPTS = 10
ALONE = "no vote compares it with another source"
ALL_TIES = "every vote is a tie"
TOO_FEW = f"an interval needs votes on at least {FEWEST_PROMPTS} prompts"
NO_LENGTH = (
    "the effect of length cannot be told apart from the models: "
    "their lengths do not differ, or differ in the same way on every prompt"
)
EVEN = 0.5


def is_enough(share: Measure) -> bool:
    """Return whether the interval of a win rate is without 50 %, or narrow around it."""
    interval = share.interval
    if isinstance(interval, Undefined):
        return False
    half = (interval.high - interval.low) / 2
    return not interval.low <= EVEN <= interval.high or half <= HALF_WIDTH_MOST


@dataclass(frozen=True, slots=True)
class RankedSource:
    """A source with its figures; the `n` of measures is the number of prompts.

    `strength` is in log odds, with mean 0 in the group. `share` is the win rate against another
    source of the group, on average over all of them, ties counting half. `best_rank` and
    `worst_rank` are within the group, from 1; `length` is the mean length of its responses in
    characters, by vote.
    """

    name: str
    strength: Measure
    share: Measure
    wins: int
    ties: int
    losses: int
    prompts: int
    best_rank: int
    worst_rank: int
    length: float

    @property
    def votes(self) -> int:
        """The number of votes on it."""
        return self.wins + self.ties + self.losses

    @property
    def is_enough(self) -> bool:
        """Whether the interval of the win rate is without 50 %, or narrow around it."""
        return is_enough(self.share)


@dataclass(frozen=True, slots=True)
class ConnectedSources:
    """Sources that votes connect, the strongest first, and how each does against each other.

    `wins[i][j]` counts the votes that source i won against source j, `ties[i][j]` their ties.
    `share[i][j]`, `low` and `high` are the expected win rate of i against j and its interval; None
    where there is none. `winners` won every vote with the other sources, and
    `losers` lost every one: their strengths have no limit, and a prior keeps them finite. `reason`
    says why there are no strengths.
    """

    sources: tuple[RankedSource, ...]
    wins: tuple[tuple[int, ...], ...]
    ties: tuple[tuple[int, ...], ...]
    share: tuple[tuple[float | None, ...], ...]
    low: tuple[tuple[float | None, ...], ...]
    high: tuple[tuple[float | None, ...], ...]
    winners: tuple[tuple[str, ...], ...]
    losers: tuple[tuple[str, ...], ...]
    is_limited: bool
    length_effect: Measure
    prompts: int
    reason: str = ""

    @property
    def is_sure(self) -> bool:
        """Whether the votes leave only one source that can be the best."""
        intervals = [source.share.interval for source in self.sources]
        is_ranked = not all(isinstance(interval, Undefined) for interval in intervals)
        return not self.reason and is_ranked and self.sources[0].worst_rank == 1

    @property
    def votes(self) -> int:
        """The number of votes among these sources."""
        return sum(map(sum, self.wins)) + sum(map(sum, self.ties)) // 2


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """The groups of sources, the largest first, and the sources that no vote compares."""

    groups: tuple[ConnectedSources, ...]
    alone: tuple[str, ...]
    votes: int
    prompts: int
    is_length_controlled: bool
    length_spread: float  # standard deviation of differences of length, in characters

    @property
    def sources(self) -> tuple[RankedSource, ...]:
        """All ranked sources."""
        return tuple(source for group in self.groups for source in group.sources)


def of_votes(
    votes: SourceVotes, names: tuple[str, ...], *, length_controlled: bool = False
) -> Leaderboard:
    """Rank sources by votes between them.

    Args:
        votes: Each is between two different sources, numbers into `names`.
        names: The names of the sources, all of which are listed.
        length_controlled: Whether a difference in length is taken out: figures are then those of
            responses of equal length.
    """
    prompt = narrowed(np.unique(votes.prompt, return_inverse=True)[1])
    ordered = replace(votes, prompt=prompt).in_order()
    del votes, prompt  # there can be a million
    spread = float(ordered.length.std()) if len(ordered) else 0.0
    term = source_strengths.length_terms(ordered.length, spread if length_controlled else 0.0)
    groups, alone = [], []
    for members in strength_draws.connected(ordered, len(names)):
        if len(members) == 1:
            alone.append(names[int(members[0])])
            continue
        inside = np.isin(ordered.first, members)
        of_group = ordered.where(inside)
        number = np.full(len(names), -1)
        number[members] = np.arange(len(members))
        number = narrowed(number)
        renumbered = replace(of_group, first=number[of_group.first], second=number[of_group.second])
        own = tuple(names[int(at)] for at in members)
        groups.append(_group(renumbered, own, term[inside], length_controlled=length_controlled))
    prompts = ordered.prompts
    return Leaderboard(
        tuple(groups), tuple(sorted(alone)), len(ordered), prompts, length_controlled, spread
    )


def _group(
    votes: SourceVotes, names: tuple[str, ...], term: Floats, *, length_controlled: bool
) -> ConnectedSources:
    k = len(names)
    pair = votes.first.astype(np.int64) * k + votes.second
    outcomes = np.bincount(pair * 3 + votes.outcome, minlength=3 * k * k).reshape(k, k, 3)
    del pair
    wins = outcomes[:, :, 0] + outcomes[:, :, 2].T
    ties = outcomes[:, :, 1] + outcomes[:, :, 1].T
    prompts = _prompts_of(votes, k)
    lengths = _mean_lengths(votes, k)
    if not wins.any():
        return _undecided(names, wins, ties, prompts, votes)
    has_length = length_controlled and _has_length(votes, term, k)
    draws = strength_draws.draw(
        votes, k, term if has_length else np.zeros(len(votes)), has_length=has_length
    )
    winners, losers = strength_draws.unbeaten(votes, k)
    strength = draws.fit.strength[0]
    order = np.lexsort((np.array(names), -strength))
    best, worst = _rank_ranges(draws, prompts)
    rates = {at: _win_rates(draws, at, prompts, order) for at in order.tolist()}
    sources = tuple(
        RankedSource(
            names[at],
            _measure(strength[at], draws.strength[:, at], int(prompts[at])),
            _limited(rates[at].average, at, winners, losers),
            int(wins[at].sum()),
            int(ties[at].sum()),
            int(wins[:, at].sum()),
            int(prompts[at]),
            int(best[at]),
            int(worst[at]),
            float(lengths[at]),
        )
        for at in order.tolist()
    )
    return ConnectedSources(
        sources,
        _table(wins, order),
        _table(ties, order),
        tuple(rates[at].share for at in order.tolist()),
        tuple(rates[at].low for at in order.tolist()),
        tuple(rates[at].high for at in order.tolist()),
        tuple(tuple(names[at] for at in part) for part in winners),
        tuple(tuple(names[at] for at in part) for part in losers),
        draws.is_limited,
        _length_effect(draws, votes, asked=length_controlled),
        votes.prompts,
    )


def _limited(
    share: Measure, at: int, winners: Sequence[Indices], losers: Sequence[Indices]
) -> Measure:
    """Return a win rate whose interval reaches the end if every vote was won, or lost."""
    if isinstance(share.interval, Undefined):
        return share
    low = 0.0 if any(at in part for part in losers) else share.interval.low
    high = 1.0 if any(at in part for part in winners) else share.interval.high
    return replace(share, interval=Interval(low, high))


def _has_length(votes: SourceVotes, term: Floats, k: int) -> bool:
    cells, cell = strength_draws.cells_of(votes, k, term)
    return strength_draws.tells_length_apart(cells, np.bincount(cell, votes.weight).astype(float))


def _undecided(
    names: tuple[str, ...], wins: Indices, ties: Indices, prompts: Indices, votes: SourceVotes
) -> ConnectedSources:
    """Return sources that are only ever tied, by name, without strengths."""
    k = len(names)
    order = np.argsort(np.array(names))
    nothing: tuple[tuple[float | None, ...], ...] = ((None,) * k,) * k
    lengths = _mean_lengths(votes, k)
    sources = tuple(
        RankedSource(
            names[at],
            Measure.missing(ALL_TIES, int(prompts[at])),
            Measure.missing(ALL_TIES, int(prompts[at])),
            0,
            int(ties[at].sum()),
            0,
            int(prompts[at]),
            1,
            k,
            float(lengths[at]),
        )
        for at in order.tolist()
    )
    return ConnectedSources(
        sources,
        _table(wins, order),
        _table(ties, order),
        nothing,
        nothing,
        nothing,
        (),
        (),
        True,
        Measure.missing(ALL_TIES),
        votes.prompts,
        ALL_TIES,
    )


def _prompts_of(votes: SourceVotes, k: int) -> Indices:
    """Count the prompts on which each source has a vote."""
    has_vote = np.zeros((k, int(votes.prompt.max(initial=0)) + 1), dtype=bool)
    has_vote[votes.first, votes.prompt] = has_vote[votes.second, votes.prompt] = True
    counts: Indices = has_vote.sum(axis=1)
    return counts


def _mean_lengths(votes: SourceVotes, k: int) -> Array:
    """Return the mean length of each source's responses, by vote."""
    sums = np.bincount(votes.first, votes.first_length, k)
    sums += np.bincount(votes.second, votes.second_length, k)
    counts = np.bincount(votes.first, minlength=k) + np.bincount(votes.second, minlength=k)
    means: Array = sums / np.maximum(counts, 1)
    return means


def _length_effect(draws: StrengthDraws, votes: SourceVotes, *, asked: bool) -> Measure:
    prompts = votes.prompts
    if draws.fit.has_length:
        return _measure(float(draws.fit.length[0]), draws.length, prompts)
    return Measure.missing(NO_LENGTH if asked else "length is not taken into account", prompts)


def _measure(value: float, drawn: Array, prompts: int) -> Measure:
    if prompts < FEWEST_PROMPTS:
        return Measure(float(value), Undefined(TOO_FEW), prompts)
    low, high = np.quantile(drawn, _levels(prompts))
    return Measure(float(value), Interval(float(low), float(high)), prompts)


def _levels(prompts: int) -> tuple[float, float]:
    """Return the quantiles of an interval, widened for few prompts.

    The expanded percentile interval (Hesterberg 2015, The American Statistician 69): a bootstrap of
    n clusters is too narrow by the factor sqrt((n - 1) / n) and ignores that Student's t, not the
    normal distribution, gives the width.
    """
    reach = student.quantile((1 + LEVEL) / 2, prompts - 1) * sqrt(prompts / (prompts - 1))
    tail = NormalDist().cdf(-reach)
    return tail, 1 - tail


@dataclass(frozen=True, slots=True)
class _WinRates:
    """A source's expected win rates against the others on average, and against each of them."""

    average: Measure
    share: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


def _win_rates(draws: StrengthDraws, at: int, prompts: Indices, order: Indices) -> _WinRates:
    """Return the win rates of a source against the others, which are in this order."""
    strength, own = draws.fit.strength[0], order == at
    value = source_strengths.win_share(strength[at] - strength[order], float(draws.fit.tie[0]))
    drawn = source_strengths.win_share(
        draws.strength[:, [at]] - draws.strength[:, order], draws.tie[:, None]
    )
    fewest = np.minimum(prompts[at], prompts[order])
    low = np.full(len(order), np.nan)
    high = low.copy()
    for n in np.unique(fewest[~own & (fewest >= FEWEST_PROMPTS)]).tolist():
        columns = ~own & (fewest == n)
        low[columns], high[columns] = np.quantile(drawn[:, columns], _levels(n), axis=0)
    return _WinRates(
        _measure(value[~own].mean(), drawn[:, ~own].mean(axis=1), int(prompts[at])),
        tuple(None if is_own else share for is_own, share in zip(own, value.tolist(), strict=True)),
        _or_none(low),
        _or_none(high),
    )


def _or_none(values: Array) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else value for value in values.tolist())


def _rank_ranges(draws: StrengthDraws, prompts: Indices) -> tuple[Indices, Indices]:
    """Return the best and the worst rank of each source that the votes leave open.

    From intervals of its differences to all others that hold together (Mogstad, Romano, Shaikh and
    Wilhelm 2024, Review of Economic Studies 91): the rank is within the range in 95 % of data sets.
    Sources without enough prompts may have any rank.
    """
    strength = draws.fit.strength[0]
    k = len(strength)
    best, worst = np.ones(k, dtype=np.int64), np.full(k, k)
    known = prompts >= FEWEST_PROMPTS
    for at in np.flatnonzero(known).tolist():
        others = np.flatnonzero(known & (np.arange(k) != at))
        if not len(others):
            continue
        gap = strength[others] - strength[at]
        drawn = draws.strength[:, others] - draws.strength[:, [at]]
        below, above = (_spread(sign * (drawn - gap)) for sign in (-1, 1))
        off = drawn - gap
        farthest = np.where(off < 0, -off / below, off / above).max(axis=1)
        n = int(prompts[at])
        widened = student.quantile((1 + LEVEL) / 2, n - 1) * sqrt(n / (n - 1))
        reach = np.quantile(farthest, LEVEL) * widened / NormalDist().inv_cdf((1 + LEVEL) / 2)
        best[at] += int((gap > reach * below).sum())
        worst[at] -= int((gap < -reach * above).sum())
    return best, worst


def _spread(off: Array) -> Array:
    """Return the root mean square of the positive entries of each column.

    Draws may spread more to one side than to the other, so each has a spread of its own.
    """
    positive = np.maximum(off, 0.0)
    counts = np.maximum((positive > 0).sum(axis=0), 1)
    spread: Array = np.sqrt((positive**2).sum(axis=0) / counts)
    return np.maximum(spread, 1e-12)


def _table(counts: Indices, order: Indices) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in counts[np.ix_(order, order)].tolist())

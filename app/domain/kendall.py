"""Agreement on whole rankings: Kendall's tau-b, and how often two labelers agree on first place."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

from app.domain import bootstrap
from app.domain.measures import Measure, Undefined
from app.domain.ranking import Ranking
from app.domain.votes import Vote

NO_RANKING = "no comparison of three or more completions was ranked twice"
_ALL_TIED = "all completions are tied, so there is no ordering to compare"


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """Means over the labeler pairs of each comparison, then over comparisons."""

    tau: Measure
    top1: Measure


def tau_b(first: Ranking, second: Ranking) -> float | Undefined:
    """Compute Kendall's tau-b of two rankings of the same completions (Kendall 1945)."""
    a, b = first.signs, second.signs
    untied = sum(x * x for x in a) * sum(y * y for y in b)
    if untied == 0:
        return Undefined(_ALL_TIED)
    return sum(x * y for x, y in zip(a, b, strict=True)) / sqrt(untied)


def rank_agreement(
    votes: Iterable[Vote], *, seed: int = 0, resamples: int = bootstrap.RESAMPLES
) -> RankAgreement:
    """Measure agreement on comparisons of three or more completions.

    A labeler pair in which one tied everything has no tau and is left out of its mean. First places
    agree if exactly the same completions share them.
    """
    by_comparison: defaultdict[Hashable, list[Ranking]] = defaultdict(list)
    for vote in votes:
        if len(vote.ranking.ranks) > 2:
            by_comparison[vote.comparison].append(vote.ranking)
    taus: list[float] = []
    firsts: list[float] = []
    for rankings in by_comparison.values():
        pairs = list(combinations(rankings, 2))
        defined = [tau for a, b in pairs if isinstance(tau := tau_b(a, b), float)]
        if defined:
            taus.append(sum(defined) / len(defined))
        if pairs:
            firsts.append(sum(a.first == b.first for a, b in pairs) / len(pairs))
    if not firsts:
        return RankAgreement(Measure.missing(NO_RANKING), Measure.missing(NO_RANKING))
    mean_tau = (
        bootstrap.mean(taus, seed=seed, resamples=resamples)
        if taus
        else Measure.missing(_ALL_TIED, len(firsts))
    )
    return RankAgreement(mean_tau, bootstrap.mean(firsts, seed=seed, resamples=resamples))

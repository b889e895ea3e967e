"""The average behavior of simulated labelers in closed form: the reference for reward models.

Exact for picks, and without position bias for the pairs of a ranking without ties, because Gumbel
noise gives a ranking the same logistic pairs (Yellott 1977, doi 10.1016/0022-2496(77)90026-8). A
ranking's ties depend on the other completions, which these formulas leave out. Comparisons have
equal weight; tied votes are left out, as they are when a reward model is scored against votes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from app.simulation.labelers import SimulatedLabeler, Utility


@dataclass(frozen=True, slots=True)
class ComparedCompletions:
    """A prompt with the completions that a comparison shows."""

    prompt: str
    completions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChoiceProbabilities:
    """The probabilities of a labeler's judgments of two completions; they add up to 1."""

    first: float
    second: float
    tie: float

    @property
    def is_strict(self) -> float:
        """The probability that one of the two is preferred."""
        return self.first + self.second


def choice_probabilities(
    labeler: SimulatedLabeler, prompt: str, first: str, second: str, *, allows_ties: bool = False
) -> ChoiceProbabilities:
    """Return how a labeler judges two completions, each shown first half of the time."""
    gap = labeler.valued(prompt, first) - labeler.valued(prompt, second)
    band = labeler.tie_band if allows_ties else 0.0
    ahead = behind = 0.0
    for lead in (labeler.position_bias, -labeler.position_bias):
        ahead += _beyond(gap + lead, band, labeler.temperature) / 2
        behind += _beyond(-gap - lead, band, labeler.temperature) / 2
    kept, flipped = 1 - labeler.flip_rate, labeler.flip_rate
    return ChoiceProbabilities(
        first=kept * ahead + flipped * behind,
        second=kept * behind + flipped * ahead,
        tie=1 - ahead - behind,
    )


def agreement_with_truth(
    labelers: Sequence[SimulatedLabeler],
    utility: Utility,
    compared: Sequence[ComparedCompletions],
    *,
    allows_ties: bool = False,
) -> float:
    """Return the probability that a strict vote prefers the completion of higher true utility.

    Completions of equal utility have no truth and are left out; NaN if there is nothing else.
    """
    hits = total = 0.0
    for comparison, first, second, weight in _pairs(compared):
        gap = utility(comparison.prompt, first) - utility(comparison.prompt, second)
        if gap == 0:
            continue
        for labeler in labelers:
            choice = choice_probabilities(
                labeler, comparison.prompt, first, second, allows_ties=allows_ties
            )
            hits += weight * (choice.first if gap > 0 else choice.second)
            total += weight * choice.is_strict
    return hits / total if total else math.nan


def human_level(
    labelers: Sequence[SimulatedLabeler],
    compared: Sequence[ComparedCompletions],
    *,
    allows_ties: bool = False,
) -> float:
    """Return how often two strict votes of different labelers agree.

    A single labeler is compared with another one exactly like it.
    """
    couples = list(permutations(range(len(labelers)), 2)) or [(0, 0)]
    hits = total = 0.0
    for comparison, first, second, weight in _pairs(compared):
        choices = [
            choice_probabilities(labeler, comparison.prompt, first, second, allows_ties=allows_ties)
            for labeler in labelers
        ]
        for i, j in couples:
            hits += weight * (
                choices[i].first * choices[j].first + choices[i].second * choices[j].second
            )
            total += weight * choices[i].is_strict * choices[j].is_strict
    return hits / total if total else math.nan


def noise_ceiling(
    labelers: Sequence[SimulatedLabeler],
    compared: Sequence[ComparedCompletions],
    *,
    allows_ties: bool = False,
) -> float:
    """Return E[max(q, 1 - q)]: the best accuracy any predictor can have against single votes."""
    hits = total = 0.0
    for comparison, first, second, weight in _pairs(compared):
        choices = [
            choice_probabilities(labeler, comparison.prompt, first, second, allows_ties=allows_ties)
            for labeler in labelers
        ]
        votes = sum(vote.first for vote in choices), sum(vote.second for vote in choices)
        hits += weight * max(votes)
        total += weight * sum(votes)
    return hits / total if total else math.nan


def _pairs(
    compared: Sequence[ComparedCompletions],
) -> Iterator[tuple[ComparedCompletions, str, str, float]]:
    """Yield every pair of every comparison, the weights of one comparison adding up to 1."""
    for comparison in compared:
        pairs = list(combinations(comparison.completions, 2))
        for first, second in pairs:
            yield comparison, first, second, 1 / len(pairs)


def _beyond(gap: float, band: float, temperature: float) -> float:
    """Return P(gap + logistic noise > band), half at equality where there is no noise."""
    if temperature == 0:
        if gap == band == 0:
            return 0.5
        return float(gap >= band) if band > 0 else float(gap > 0)
    x = (gap - band) / temperature
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))

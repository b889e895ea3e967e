"""Measures the reward model and the policy against the truth, which only a simulation knows.

The truth is the panel's taste applied to the texts. Everything is measured per prompt, with
intervals clustered by prompt, as the product's own for people's judgments.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from app.domain import jackknife
from app.domain.measures import Measure, Undefined

Utility = Callable[[str, str], float]
_SAME = 1e-9  # utilities that differ by less than this are equal


@dataclass(frozen=True, slots=True)
class ScoredComparison:
    """One held-out comparison: its prompt, its texts and their scores by the reward model."""

    prompt: str
    texts: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PolicyCompletions:
    """One held-out prompt with a completion of the old policy and one of the new policy."""

    prompt: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class RewardTruth:
    """How often the reward model, and length alone, order two completions as the truth does."""

    accuracy: Measure
    length_only: Measure
    minus_length_only: Measure  # paired by comparison
    comparisons: int
    pairs: int


@dataclass(frozen=True, slots=True)
class PolicyTruth:
    """The true utility before and after the policy's training."""

    before: Measure
    after: Measure
    change: Measure  # paired by prompt
    win_rate: Measure  # ties count half
    prompts: int


def reward(rows: Iterable[ScoredComparison], utility: Utility, *, longer_wins: bool) -> RewardTruth:
    """Measure a reward model and the length baseline against the truth on the same pairs.

    Args:
        rows: Held-out comparisons.
        utility: The true utility of a text, given its prompt.
        longer_wins: The baseline's direction, chosen on the training prompts.
    """
    model: list[float] = []
    prompts: dict[str, int] = {}
    cluster: list[int] = []
    length: list[float] = []
    pairs = 0
    for row in rows:
        truth = [utility(row.prompt, text) for text in row.texts]
        sizes = [len(text) if longer_wins else -len(text) for text in row.texts]
        decided = [pair for pair in combinations(range(len(truth)), 2) if _differ(truth, *pair)]
        if not decided:
            continue
        pairs += len(decided)
        cluster.append(prompts.setdefault(row.prompt, len(prompts)))
        model.append(fmean(_agrees(truth, row.scores, *pair) for pair in decided))
        length.append(fmean(_agrees(truth, sizes, *pair) for pair in decided))
    gains = [
        model_share - length_share for model_share, length_share in zip(model, length, strict=True)
    ]
    by_prompt = np.array(cluster, dtype=np.int64)
    return RewardTruth(
        jackknife.share(model, by_prompt),
        jackknife.share(length, by_prompt),
        jackknife.mean(gains, by_prompt),
        len(model),
        pairs,
    )


def policy(rows: Sequence[PolicyCompletions], utility: Utility) -> PolicyTruth:
    """Measure the true utility before and after training, and the win rate prompt by prompt."""
    before = [utility(row.prompt, row.old) for row in rows]
    after = [utility(row.prompt, row.new) for row in rows]
    change = [new - old for new, old in zip(after, before, strict=True)]
    wins = [0.5 if abs(gain) < _SAME else float(gain > 0) for gain in change]
    return PolicyTruth(
        jackknife.mean(before),
        jackknife.mean(after),
        jackknife.mean(change),
        jackknife.share(wins),
        len(rows),
    )


def bounds(measure: Measure) -> list[float] | None:
    """Return an interval as [low, high], or None if it is undefined."""
    if isinstance(measure.interval, Undefined):
        return None
    return [measure.interval.low, measure.interval.high]


def value(measure: Measure) -> float | None:
    """Return the value, or None if it is undefined."""
    return None if isinstance(measure.value, Undefined) else measure.value


def _differ(truth: Sequence[float], first: int, second: int) -> bool:
    return abs(truth[first] - truth[second]) > _SAME


def _agrees(truth: Sequence[float], scores: Sequence[float], first: int, second: int) -> float:
    gap = scores[first] - scores[second]
    if abs(gap) < _SAME:
        return 0.5
    return float((gap > 0) == (truth[first] > truth[second]))

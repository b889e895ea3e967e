"""Which comparisons of a pool are worth asking people about, by the scores of reward models.

Scores are [M, K]: of M reward models for the K completions of a comparison, as logits. A rule turns
them into the comparison's worth, and a share of a round's comparisons is the worthiest ones of a
pool; the rest is drawn at random. Scoring the pool is left to the worker.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import combinations
from statistics import fmean, pstdev
from typing import Any, Final

from app.domain.bounds import between

Scores = Sequence[Sequence[float]]

SHARE_MOST: Final = 0.8
"""At least a fifth of a round is drawn at random: all figures are of that part."""


class ChoiceRule(StrEnum):
    """What makes a comparison worth asking about."""

    RANDOM = "random"
    DISAGREEMENT = "disagreement"  # the reward models differ in how far the completions are apart
    UNCERTAINTY = "uncertainty"  # the predicted preference is near that of a coin
    INFORMATION = "information"  # what a judgment would say about which model is right (BALD)
    POLICIES = "policies"  # the models that wrote the completions differ in their mean score

    @property
    def needs_ensemble(self) -> bool:
        """Whether a single reward model finds all comparisons equally worthy."""
        return self in (ChoiceRule.DISAGREEMENT, ChoiceRule.INFORMATION)


@dataclass(frozen=True, slots=True)
class ChoicePlan:
    """How a round's comparisons for training are chosen.

    A `share` of the prompts to label is chosen by the `rule` from a pool of `pool` times as many
    prompts, for all of which candidates are sampled; the last earlier round's reward model scores
    them. Held-out prompts are always drawn at random.
    """

    rule: ChoiceRule = ChoiceRule.RANDOM
    share: float = 0.5
    pool: int = 3

    def __post_init__(self) -> None:
        between("choose share", self.share, 0.0, SHARE_MOST)
        between("choose pool", self.pool, 2, 20)

    def count(self, prompts: int) -> int:
        """Return how many of a round's prompts are chosen."""
        return 0 if self.rule is ChoiceRule.RANDOM else int(self.share * prompts + 1e-9)

    def sampled(self, prompts: int) -> int:
        """Return for how many prompts candidates are sampled."""
        return prompts + self.count(prompts) * (self.pool - 1)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Why a comparison was chosen: its worth by the rule, and its place in the pool, from 1."""

    rule: ChoiceRule
    worth: float
    place: int
    pool: int
    model: str  # the reward model's name

    def to_json(self) -> dict[str, Any]:
        """Return the reason as JSON values."""
        return asdict(self)

    @property
    def why(self) -> str:
        """Return the reason in words."""
        top = math.ceil(100 * self.place / self.pool)
        said = REASONS[self.rule].format(model=self.model, worth=self.worth)
        return f"chosen: {said}, top {top} % of {self.pool:,}"


REASONS: Final[Mapping[ChoiceRule, str]] = {
    ChoiceRule.RANDOM: "",
    ChoiceRule.DISAGREEMENT: "the models of {model} disagree (std {worth:.2f})",
    ChoiceRule.UNCERTAINTY: "{model} is unsure ({worth:.2f}, where 1 is a coin toss)",
    ChoiceRule.INFORMATION: "a judgment tells the models of {model} apart ({worth:.3f} nats)",
    ChoiceRule.POLICIES: "{model} scores one policy higher (by {worth:.2f})",
}
AT_RANDOM: Final = "drawn at random"


def why(stored: Mapping[str, Any] | None) -> str:
    """Return in words why a round asks about a comparison, from what is stored with it."""
    if stored is None:
        return AT_RANDOM
    return Chosen(**{**stored, "rule": ChoiceRule(stored["rule"])}).why


def worth(rule: ChoiceRule, scores: Scores, sources: Sequence[Hashable]) -> float:
    """Return how worthy a comparison is by a rule; by the random one all are alike.

    Args:
        rule: What makes a comparison worthy.
        scores: [M, K], logits.
        sources: The model that wrote each completion.
    """
    if rule is ChoiceRule.POLICIES:
        return policies(scores, sources)
    return _WORTH[rule](scores) if rule in _WORTH else 0.0


def order(worths: Sequence[float]) -> list[int]:
    """Return the places of the comparisons, the worthiest first; equal ones keep their order."""
    return sorted(range(len(worths)), key=lambda place: -worths[place])


def disagreement(scores: Scores) -> float:
    """Return the standard deviation between models of a pair's difference, mean over pairs."""
    return fmean(pstdev(gaps) for gaps in _gaps(scores))


def uncertainty(scores: Scores) -> float:
    """Return 1 for pairs predicted to be even, down to 0 for decided ones; mean over pairs."""
    return fmean(1.0 - 2.0 * abs(fmean(map(_sigmoid, gaps)) - 0.5) for gaps in _gaps(scores))


def information(scores: Scores) -> float:
    """Return the mutual information, in nats, of a pair's judgment and the model; mean over pairs.

    Source: Houlsby et al., 2011 (arXiv 1112.5745), equation 2, with the ensemble as the posterior.
    """
    found = []
    for gaps in _gaps(scores):
        chances = [_sigmoid(gap) for gap in gaps]
        found.append(_entropy(fmean(chances)) - fmean(map(_entropy, chances)))
    return fmean(found)


def policies(scores: Scores, sources: Sequence[Hashable]) -> float:
    """Return the gap between the highest and the lowest model's mean score; 0 for one model."""
    by_source: dict[Hashable, list[float]] = {}
    for source, column in zip(sources, zip(*scores, strict=True), strict=True):
        by_source.setdefault(source, []).append(fmean(column))
    means = [fmean(own) for own in by_source.values()]
    return max(means) - min(means)


_WORTH: Final[Mapping[ChoiceRule, Callable[[Scores], float]]] = {
    ChoiceRule.DISAGREEMENT: disagreement,
    ChoiceRule.UNCERTAINTY: uncertainty,
    ChoiceRule.INFORMATION: information,
}


def _gaps(scores: Scores) -> list[list[float]]:
    """Return each pair's differences, one of each model."""
    return [
        [own[first] - own[second] for own in scores]
        for first, second in combinations(range(len(scores[0])), 2)
    ]


def _sigmoid(gap: float) -> float:
    return 0.5 * (1.0 + math.tanh(gap / 2.0))


def _entropy(chance: float) -> float:
    return -sum(p * math.log(p) for p in (chance, 1.0 - chance) if p > 0.0)

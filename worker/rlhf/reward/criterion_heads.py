"""Rating criteria: one head per criterion on the reward model's trunk, and their weighted mean.

Heads have no bias and predict standardized ratings, so the weighted mean of their predictions is a
linear head as well. It is stored as the head of the role, so the reward model can be scored and
loaded elsewhere without knowing the criteria.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor, nn

from worker.rlhf.core.examples import AbsoluteFeedback, RankedPrompt
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward.normalizer import Scale


@dataclass(frozen=True, slots=True)
class RatedCriterion:
    """A criterion, its weight in the reward, and the scale of its ratings in the training data."""

    name: str
    weight: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a weight or a scale that is not finite, or a scale of 0.

        Raises:
            ValueError: naming the criterion, the rule and the value.
        """
        for setting in ("weight", "mean", "std"):
            if not math.isfinite(getattr(self, setting)):
                raise ValueError(f"{setting} of criterion {self.name!r} must be finite")
        if self.std <= 0.0:
            raise ValueError(f"std of criterion {self.name!r} must be above 0, got {self.std}")

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Return the criterion in a manifest."""
        return cls(**value)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, object]:
        """Return plain values that `from_json` reads."""
        return asdict(self)


Criteria = tuple[RatedCriterion, ...]


def fit(ranked_prompts: Sequence[RankedPrompt], weights: Mapping[str, float]) -> Criteria:
    """Return the rated criteria, with the scale of their ratings.

    The default weight is 1.

    Raises:
        ValueError: if there are rated criteria and all have weight 0.
    """
    ratings: dict[str, list[float]] = {}
    for ranked in ranked_prompts:
        for feedback in ranked.absolutes:
            for name, rating in feedback.ratings.items():
                ratings.setdefault(name, []).append(rating)
    criteria = []
    for name in sorted(ratings):
        scale = Scale.fit(torch.tensor(ratings[name], dtype=torch.float64))
        criteria.append(RatedCriterion(name, weights.get(name, 1.0), scale.mean, scale.std))
    if criteria and not any(criterion.weight for criterion in criteria):
        raise ValueError(
            f"the criteria {', '.join(sorted(ratings))} all weigh 0: there is no reward"
        )
    return tuple(criteria)


def shares(criteria: Criteria) -> Tensor:
    """Return the coefficient of each standardized rating in the reward, [C], in rating points."""
    total = sum(abs(criterion.weight) for criterion in criteria)
    return torch.tensor([criterion.weight * criterion.std / total for criterion in criteria])


def head_names(role: str, criteria: Criteria) -> tuple[str, ...]:
    """Return the names of a role's criterion heads."""
    return tuple(f"{role}~{number}" for number in range(len(criteria)))


def add_heads(roles: Roles, role: str, criteria: Criteria, *, seed: int) -> None:
    """Add a head per criterion and make the role's head their weighted mean."""
    for number, name in enumerate(head_names(role, criteria)):
        roles.add_head(name, seed=seed + number)
    if criteria:
        roles.head(role).weight.requires_grad_(False)
        combine(roles, role, criteria)


def heads_of(roles: Roles, role: str, criteria: Criteria) -> dict[str, nn.Parameter]:
    """Return the weights of a role's criterion heads under stable names."""
    return {
        f"{role}/criterion-{number}": next(roles.head(name).parameters())
        for number, name in enumerate(head_names(role, criteria))
    }


@torch.no_grad()
def combine(roles: Roles, role: str, criteria: Criteria) -> None:
    """Set the role's head to the weighted mean of its criterion heads."""
    weights = torch.cat([roles.head(name).weight for name in head_names(role, criteria)])
    roles.head(role).weight.copy_(shares(criteria).to(weights) @ weights)


def predict(roles: Roles, role: str, criteria: Criteria, states: Tensor) -> Tensor:
    """Return the standardized ratings predicted from hidden states, [N, d] -> [N, C], fp32."""
    return torch.stack([roles.score(name, states) for name in head_names(role, criteria)], dim=-1)


def reward_of(predicted: Tensor, criteria: Criteria) -> Tensor:
    """Return the weighted mean of predicted ratings, which is the role's score, [N, C] -> [N]."""
    return predicted @ shares(criteria).to(predicted)


def loss_of(
    predicted: Tensor, ranked_prompts: Sequence[RankedPrompt], criteria: Criteria
) -> Tensor:
    """Return each prompt's mean squared error over its ratings, [B]; without ratings it is 0.

    Prompts weigh equally, whatever their number of ratings.

    Args:
        predicted: Standardized ratings of all completions, prompt by prompt, [N, C].
        ranked_prompts: The prompts of these completions.
        criteria: In the order of the columns.
    """
    ratings, is_rated, weight = targets(ranked_prompts, criteria)
    error = (predicted - ratings.to(predicted)).square() * weight.to(predicted)[:, None]
    error = error.masked_fill(~is_rated.to(predicted.device), 0.0).sum(1)
    prompt_index = torch.repeat_interleave(
        torch.arange(len(ranked_prompts)),
        torch.tensor([len(ranked.completions) for ranked in ranked_prompts]),
    )
    counts = torch.zeros(len(ranked_prompts), dtype=torch.long)
    counts = counts.index_add(0, prompt_index, is_rated.sum(1))
    sums = predicted.new_zeros(len(ranked_prompts))
    sums = sums.index_add(0, prompt_index.to(predicted.device), error)
    return sums / counts.clamp(min=1).to(predicted)


def targets(
    ranked_prompts: Sequence[RankedPrompt], criteria: Criteria
) -> tuple[Tensor, Tensor, Tensor]:
    """Return standardized ratings [N, C], which of them exist [N, C], and weights [N]."""
    rows, is_rated, weights = [], [], []
    for ranked in ranked_prompts:
        for index in range(len(ranked.completions)):
            feedback = ranked.absolutes[index] if ranked.absolutes else AbsoluteFeedback()
            ratings = feedback.ratings
            rows.append([(ratings.get(c.name, c.mean) - c.mean) / c.std for c in criteria])
            is_rated.append([c.name in ratings for c in criteria])
            weights.append(feedback.weight)
    return torch.tensor(rows), torch.tensor(is_rated), torch.tensor(weights)

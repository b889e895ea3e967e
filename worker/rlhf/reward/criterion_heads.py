"""Ratings on criteria: one head per criterion on the reward model's trunk, and their weighted mean.

Heads have no bias and predict standardised ratings, so the weighted mean of their predictions is
one head too. That is the role's own head: whoever asks the reward model for a score, or loads it
elsewhere, needs to know of no criterion.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor, nn

from worker.rlhf.core.examples import Ranking
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward.normaliser import Scale


@dataclass(frozen=True, slots=True)
class Criterion:
    """What is rated, its part in the reward, and the scale of its ratings in the training data."""

    name: str
    weight: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a weight and a scale that give no number.

        Raises:
            ValueError: naming the criterion, the rule and the value.
        """
        for part in ("weight", "mean", "std"):
            if not math.isfinite(getattr(self, part)):
                raise ValueError(f"{part} of criterion {self.name!r} must be finite")
        if self.std <= 0.0:
            raise ValueError(f"std of criterion {self.name!r} must be above 0, got {self.std}")

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Return the criterion of a manifest."""
        return cls(**value)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, object]:
        """Return what `from_json` reads."""
        return asdict(self)


Criteria = tuple[Criterion, ...]


def fit(rankings: Sequence[Ranking], weights: Mapping[str, float]) -> Criteria:
    """Return the criteria that were rated, with the scale of their ratings.

    A criterion without a weight of its own weighs 1.

    Raises:
        ValueError: if something was rated and all of it weighs nothing.

    """
    ratings: dict[str, list[float]] = {}
    for ranking in rankings:
        for each in ranking.absolutes:
            for name, rating in each.ratings.items():
                ratings.setdefault(name, []).append(rating)
    found = []
    for name in sorted(ratings):
        scale = Scale.fit(torch.tensor(ratings[name], dtype=torch.float64))
        found.append(Criterion(name, weights.get(name, 1.0), scale.mean, scale.std))
    if found and not any(each.weight for each in found):
        raise ValueError(
            f"the criteria {', '.join(sorted(ratings))} all weigh 0: there is no reward"
        )
    return tuple(found)


def shares(criteria: Criteria) -> Tensor:
    """Return what each standardised rating adds to the reward, [C], in points of the rating."""
    total = sum(abs(each.weight) for each in criteria)
    return torch.tensor([each.weight * each.std / total for each in criteria])


def head_names(role: str, criteria: Criteria) -> tuple[str, ...]:
    """Return the names of the criteria's heads of a role."""
    return tuple(f"{role}~{number}" for number in range(len(criteria)))


def add_heads(roles: Roles, role: str, criteria: Criteria, *, seed: int) -> None:
    """Add a head per criterion; the role's own head becomes their weighted mean."""
    for number, name in enumerate(head_names(role, criteria)):
        roles.add_head(name, seed=seed + number)
    if criteria:
        roles.head(role).weight.requires_grad_(False)
        combine(roles, role, criteria)


def heads_of(roles: Roles, role: str, criteria: Criteria) -> dict[str, nn.Parameter]:
    """Return the weights of a role's criteria's heads under stable names."""
    return {
        f"{role}/criterion-{number}": next(roles.head(name).parameters())
        for number, name in enumerate(head_names(role, criteria))
    }


@torch.no_grad()
def combine(roles: Roles, role: str, criteria: Criteria) -> None:
    """Make the role's own head the weighted mean of its criteria's."""
    rows = torch.cat([roles.head(name).weight for name in head_names(role, criteria)])
    roles.head(role).weight.copy_(shares(criteria).to(rows) @ rows)


def predict(roles: Roles, role: str, criteria: Criteria, states: Tensor) -> Tensor:
    """Return the standardised ratings that hidden states predict, [N, d] -> [N, C], fp32."""
    return torch.stack([roles.score(name, states) for name in head_names(role, criteria)], dim=-1)


def reward_of(predicted: Tensor, criteria: Criteria) -> Tensor:
    """Return the weighted mean of predicted ratings, [N, C] -> [N]: the role's own score."""
    return predicted @ shares(criteria).to(predicted)


def loss_of(predicted: Tensor, rankings: Sequence[Ranking], criteria: Criteria) -> Tensor:
    """Return each ranking's mean squared error over the ratings that were given, [B].

    Each ranking weighs equally however many ratings it has; one without any costs nothing.

    Args:
        predicted: Standardised ratings of all completions, ranking by ranking, [N, C].
        rankings: Those completions' rankings.
        criteria: In the order of the columns.

    """
    wanted, is_rated, weight = targets(rankings, criteria)
    error = (predicted - wanted.to(predicted)).square() * weight.to(predicted)[:, None]
    error = error.masked_fill(~is_rated.to(predicted.device), 0.0).sum(1)
    counts = is_rated.sum(1)
    rows = torch.repeat_interleave(
        torch.arange(len(rankings)), torch.tensor([len(each.completions) for each in rankings])
    )
    of_ranking = torch.zeros(len(rankings), dtype=torch.long).index_add(0, rows, counts)
    sums = predicted.new_zeros(len(rankings)).index_add(0, rows.to(predicted.device), error)
    return sums / of_ranking.clamp(min=1).to(predicted)


def targets(rankings: Sequence[Ranking], criteria: Criteria) -> tuple[Tensor, Tensor, Tensor]:
    """Return standardised ratings [N, C], which of them were given [N, C], and weights [N]."""
    rows, is_rated, weights = [], [], []
    for ranking in rankings:
        for place in range(len(ranking.completions)):
            each = ranking.absolutes[place] if ranking.absolutes else None
            given = {} if each is None else each.ratings
            rows.append([(given.get(c.name, c.mean) - c.mean) / c.std for c in criteria])
            is_rated.append([c.name in given for c in criteria])
            weights.append(1.0 if each is None else each.weight)
    return torch.tensor(rows), torch.tensor(is_rated), torch.tensor(weights)

"""A weighted sum of rewards."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from worker.rlhf.reward.scoring import RewardFunction, Scores
from worker.rlhf.reward.shared_prefix import Branches


@dataclass(frozen=True, slots=True)
class WeightedReward:
    """One reward in a sum, and the name under which it is logged."""

    name: str
    weight: float
    reward: RewardFunction


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """The sum of rewards, each on its own scale times its weight.

    A part of weight 0 is only logged: it is scored, and its score and spread are reported. The raw
    score is the weighted sum of raw scores, which is only comparable with itself; the spread is the
    weighted sum over the parts that have one.
    """

    parts: tuple[WeightedReward, ...]

    def __post_init__(self) -> None:
        """Refuse a sum without weights and duplicate names.

        Raises:
            ValueError: naming the rule.
        """
        if not any(part.weight for part in self.parts):
            raise ValueError("a reward needs at least one part with a weight other than 0")
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise ValueError(f"parts of a reward must have different names, got {names}")

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the weighted sums, and the score of each part on its own scale."""
        scored = [(part, part.reward.score(branches)) for part in self.parts]
        spreads = [
            (abs(part.weight) or 1.0) * scores.spread
            for part, scores in scored
            if scores.spread is not None
        ]
        return Scores(
            torch.stack([part.weight * scores.raw for part, scores in scored]).sum(0),
            torch.stack([part.weight * scores.normalized for part, scores in scored]).sum(0),
            torch.stack(spreads).sum(0) if spreads else None,
            {part.name: scores.normalized for part, scores in scored},
        )

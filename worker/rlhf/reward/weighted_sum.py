"""A weighted sum of rewards, some of which may be floors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.rlhf.reward.scoring import RewardFunction, Scores
from worker.rlhf.reward.shared_prefix import Branches


@dataclass(frozen=True, slots=True)
class WeightedReward:
    """One reward in a sum, and the name under which it is logged.

    With a `floor`, on the normalized scale, only the shortfall below it counts.
    """

    name: str
    weight: float
    reward: RewardFunction
    floor: float | None = None

    def contribution(self, scores: Tensor) -> Tensor:
        """Return what the part adds to the sum, from its normalized scores, [N] -> [N]."""
        counted = scores if self.floor is None else (scores - self.floor).clamp(max=0.0)
        return self.weight * counted


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
        refuse_duplicates(self.parts)

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the weighted sums, and the score of each part on its own scale."""
        scored = score_all(self.parts, branches)
        by_part = {part.name: part for part in self.parts}
        return Scores(
            torch.stack([by_part[name].weight * one.raw for name, one in scored.items()]).sum(0),
            torch.stack(
                [by_part[name].contribution(one.normalized) for name, one in scored.items()]
            ).sum(0),
            spread_of(self.parts, scored),
            {name: one.normalized for name, one in scored.items()},
            shares_of(scored),
            amounts_of(scored),
        )


def refuse_duplicates(parts: Sequence[WeightedReward]) -> None:
    """Refuse parts that would be logged under one name.

    Raises:
        ValueError: naming them all.
    """
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise ValueError(f"parts of a reward must have different names, got {names}")


def score_all(
    parts: Sequence[WeightedReward], branches: Sequence[Branches]
) -> Mapping[str, Scores]:
    """Return the scores of each part by its name."""
    return {part.name: part.reward.score(branches) for part in parts}


def spread_of(parts: Sequence[WeightedReward], scored: Mapping[str, Scores]) -> Tensor | None:
    """Return the weighted sum of the spreads of the parts that have one, [N]."""
    spreads = [
        (abs(part.weight) or 1.0) * spread
        for part in parts
        if (spread := scored[part.name].spread) is not None
    ]
    return torch.stack(spreads).sum(0) if spreads else None


def shares_of(scored: Mapping[str, Scores]) -> dict[str, Tensor]:
    """Return the remarks on the responses, named after the part that made them."""
    return {
        f"{name}/{remark}": flags
        for name, scores in scored.items()
        for remark, flags in scores.shares.items()
    }


def amounts_of(scored: Mapping[str, Scores]) -> dict[str, Tensor]:
    """Return what scoring took, such as tokens, named after the part that took it."""
    return {
        f"{name}/{unit}": amounts
        for name, scores in scored.items()
        for unit, amounts in scores.amounts.items()
    }

"""Several rewards as one: their weighted sum."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from worker.rlhf.reward.scoring import RewardFunction, Scores
from worker.rlhf.reward.shared_prefix import Branches


@dataclass(frozen=True, slots=True)
class Part:
    """One reward in a sum, under the name it is logged by."""

    name: str
    weight: float
    reward: RewardFunction


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """The sum of some rewards, each on its own scale times its weight.

    A part that weighs nothing only watches: it is asked, and what it says and how unsure it is are
    kept. The raw score is the sum of the raw ones and means something only beside itself; the
    spread is that of the parts that are unsure.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        """Refuse a sum of nothing and names that are not unique.

        Raises:
            ValueError: naming the rule.
        """
        if not any(part.weight for part in self.parts):
            raise ValueError("a reward needs at least one part with a weight other than 0")
        names = [part.name for part in self.parts]
        if len(set(names)) < len(names):
            raise ValueError(f"parts of a reward must have different names, not {names}")

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the weighted sums, and what each part said on its own scale."""
        asked = [(part, part.reward.score(branches)) for part in self.parts]
        spreads = [
            (abs(part.weight) or 1.0) * found.spread
            for part, found in asked
            if found.spread is not None
        ]
        return Scores(
            torch.stack([part.weight * found.raw for part, found in asked]).sum(0),
            torch.stack([part.weight * found.normalised for part, found in asked]).sum(0),
            torch.stack(spreads).sum(0) if spreads else None,
            {part.name: found.normalised for part, found in asked},
        )

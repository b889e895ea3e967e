"""Helpfulness where a response is safe, and safety where it is not.

Llama 2 (arXiv 2307.09288), section 3.2.2: R_c = R_s if the prompt is tagged as a safety prompt or
R_s < 0.15, else R_h; then the logit of R_c, whitened. Departures: helpfulness may be a weighted sum
of rewards, so it enters on its normalized scale instead of as a logit; the scale of the whitening
is fitted once, on the initial policy's responses, so that the reward means the same at every step;
and rules, which have no model behind them, are added afterwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.reward.weighted_sum import (
    WeightedReward,
    amounts_of,
    refuse_duplicates,
    score_all,
    shares_of,
    spread_of,
)

SHARE = "judged-by-safety"
SMALLEST = 1e-6  # of a probability, so that its logit is finite

TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SafetyFirst:
    """A safety reward, the rewards that count where it is satisfied, and rules.

    The raw score of the safety reward is a probability, or a logit with `is_logit`. Responses to
    `safety_prompts` count by their safety alone.
    """

    safety: WeightedReward
    helpful: tuple[WeightedReward, ...]
    rules: tuple[WeightedReward, ...] = ()
    is_logit: bool = True
    threshold: float = 0.15
    safety_prompts: frozenset[TokenIds] = frozenset()
    scale: Scale = field(default_factory=Scale)

    def __post_init__(self) -> None:
        """Refuse duplicate names, and a choice between one reward and nothing.

        Raises:
            ValueError: naming the rule.
        """
        refuse_duplicates(self.parts)
        if not any(part.weight for part in self.helpful):
            raise ValueError("safety first needs a reward for helpfulness besides the safety one")

    @property
    def parts(self) -> tuple[WeightedReward, ...]:
        """All rewards."""
        return (self.safety, *self.helpful, *self.rules)

    def fitted(self, branches: Sequence[Branches]) -> "SafetyFirst":
        """Return the same reward with the choice normalized on these completions."""
        chosen, _ = self._choice(score_all(self.parts, branches), branches)
        return replace(self, scale=Scale.fit(chosen))

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the reward of each completion, and the score of each part on its own scale.

        Raises:
            ValueError: if a safety score that should be a probability is not.
        """
        scored = score_all(self.parts, branches)
        chosen, is_unsafe = self._choice(scored, branches)
        rules = _sum(self.rules, scored, len(chosen))
        return Scores(
            chosen + rules,
            self.scale(chosen) + rules,
            spread_of(self.parts, scored),
            {name: one.normalized for name, one in scored.items()},
            shares_of(scored) | {SHARE: is_unsafe.float()},
            amounts_of(scored),
        )

    def _choice(
        self, scored: Mapping[str, Scores], branches: Sequence[Branches]
    ) -> tuple[Tensor, Tensor]:
        """Return the score that decides for each completion, and whether it is that of safety."""
        logits = self._logits(scored[self.safety.name].raw)
        is_unsafe = self._is_unsafe(logits, branches)
        helpful = _sum(self.helpful, scored, len(logits))
        return torch.where(is_unsafe, self.safety.weight * logits, helpful), is_unsafe

    def _logits(self, raw: Tensor) -> Tensor:
        if self.is_logit:
            return raw
        outside = raw[(raw < 0.0) | (raw > 1.0)]
        if len(outside):
            raise ValueError(
                f"the safety reward {self.safety.name!r} must be a probability, 0 to 1, "
                f"not {float(outside[0]):g}"
            )
        return torch.logit(raw, eps=SMALLEST)

    def _is_unsafe(self, logits: Tensor, branches: Sequence[Branches]) -> Tensor:
        """Return for each completion whether its safety decides, [N]."""
        is_tagged = [
            tuple(branch.prompt_ids) in self.safety_prompts
            for branch in branches
            for _ in branch.completions
        ]
        return (torch.sigmoid(logits) < self.threshold) | torch.tensor(is_tagged)


def _sum(parts: Sequence[WeightedReward], scored: Mapping[str, Scores], count: int) -> Tensor:
    total = torch.zeros(count)
    for part in parts:
        total = total + part.contribution(scored[part.name].normalized)
    return total

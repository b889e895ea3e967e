"""Scales fresh heads so that training starts near a loss of ln 2, whatever the model's width.

A head is drawn for hidden states of unit size, but those of many models are larger: the first
scores then differ by several units, and the first steps only undo that.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import scoring
from worker.rlhf.reward.ranking_loss import branches_of

SCORE_RMS: Final = 0.05
"""Root mean square of the first scores; ln 2 rises by 5 % if all pairs differ the wrong way."""

PROMPTS_MOST: Final = 32


@torch.no_grad()
def shrink(roles: Roles, names: Sequence[str], ranked_prompts: Sequence[RankedPrompt]) -> None:
    """Scale down each head whose scores of the first prompts are too large; leave the others.

    Args:
        roles: the model, with adapters and heads.
        names: of the reward adapters.
        ranked_prompts: the training data, of which a few are scored.
    """
    branches = [branches_of(ranked) for ranked in ranked_prompts[:PROMPTS_MOST]]
    if not branches:
        return
    reward = scoring.AdapterReward(roles, tuple(names), scoring.probe(roles))
    # Computed once, so that all processes of a team start from the same weights.
    own = reward.raw(branches) if roles.team.is_sharding else None
    scores: Tensor = roles.team.once(lambda: reward.raw(branches) if own is None else own)
    for name, size in zip(names, scores.square().mean(1).sqrt().tolist(), strict=True):
        if size > SCORE_RMS:
            roles.head(name).weight.mul_(SCORE_RMS / size)

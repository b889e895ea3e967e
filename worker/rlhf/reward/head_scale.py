"""Settles fresh heads so that training starts near a loss of ln 2, whatever the model's width.

A head is drawn for hidden states of unit size, but those of many models are larger, and have much
in common: the first scores are then far from 0 together and differ by several units, and the first
steps only undo that. What all hidden states share is taken out of the head; only what is left is
scaled, and only if it is too large, because a small head also teaches the trunk slowly.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor

from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import scoring, shared_prefix
from worker.rlhf.reward.ranking_loss import branches_of
from worker.rlhf.reward.shared_prefix import Branches

SCORE_RMS: Final = 0.1
"""Root mean square of the first scores: two of them differ by 0.14, which changes a loss of ln 2 by
at most 10 % if all differ the same way, and hardly at all if they do not."""

PROMPTS_MOST: Final = 32


@torch.no_grad()
def settle(roles: Roles, names: Sequence[str], ranked_prompts: Sequence[RankedPrompt]) -> None:
    """Take out of each head what the first hidden states share, and scale it down if need be.

    Args:
        roles: the model, with adapters and heads.
        names: of the reward adapters.
        ranked_prompts: the training data, of which a few are scored.
    """
    branches = [branches_of(ranked) for ranked in ranked_prompts[:PROMPTS_MOST]]
    if not branches:
        return
    probe = scoring.probe(roles)
    for name in names:
        settle_one = partial(_settled, roles, name, branches, probe)
        # Those of the first process, so that all of a team start from the same weights.
        own = settle_one() if roles.team.is_sharding else None
        settled: Tensor = roles.team.once(settle_one if own is None else partial(_same, own))
        roles.head(name).weight.copy_(settled)


def _same(weight: Tensor) -> Tensor:
    return weight


def _settled(
    roles: Roles, name: str, branches: Sequence[Branches], probe: shared_prefix.Probe
) -> Tensor:
    """Return the settled weight of a head, [1, d]."""
    states = []
    for group in scoring.micro_batches(branches, roles.room.of(scoring.TOKEN_BUDGET)):
        chosen = [branches[index] for index in group]
        layout = shared_prefix.lay_out(chosen, probe, pad_id=roles.pad_id)
        states.append(scoring.states_of(roles, name, layout, autocast=None).float())
    mean = torch.cat(states).mean(0)
    weight = roles.head(name).weight.float()
    weight = weight - (weight @ mean / mean.square().sum().clamp_min(1e-12)) * mean
    rms = float((torch.cat(states) @ weight.T).square().mean().sqrt())
    return weight * min(1.0, SCORE_RMS / max(rms, 1e-12))

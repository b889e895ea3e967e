"""A policy straight from the judged comparisons in a file, without a reward model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from app.domain.plan import Algorithm
from worker.files import rows
from worker.files.run_folder import RunFolder
from worker.files.training_request import TrainingRequest
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.roles import POLICY, SFT, Roles
from worker.rlhf.policy import dpo
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.reward.ranking_loss import fit_of, split_by_length
from worker.training import (
    adapter_shape,
    algorithms,
    token_budgets,
    trained_parameters,
    training_loop,
)


def run(request: TrainingRequest, folder: RunFolder) -> None:
    """Train a policy by direct preference optimization."""
    split = request.read(rows.comparisons, folder)
    roles = request.roles(folder)
    split = request.fitting(split, roles, folder)
    new = adapter_shape.of(request.plan.policy.lora, roles)
    config = algorithms.dpo_config(request.plan, roles.settings.get(SFT, new))
    tokens = token_budgets.of(
        roles,
        request.plan.token_budget,
        config.token_budget,
        recomputes=request.plan.checkpoints_gradients,
    )
    config = replace(config, token_budget=tokens)
    train = request.rankings(split.train, roles)
    dpo.prepare(roles, config)
    if request.plan.checkpoints_gradients:
        roles.checkpoint_gradients(True)
    state = TrainingState()
    training_loop.restore(folder, state)
    loop = dpo.train(roles, train, config, state)
    note = algorithms.NOTES[Algorithm.DPO]
    end = training_loop.follow(
        folder, loop, state, save_every=request.save_every, note=note, room=roles.room
    )
    roles.gather()
    folder.leave_team()
    if not folder.is_first:
        return
    measured = measure(roles, request.rankings(split.heldout, roles), config)
    trained_parameters.say(folder, roles, [POLICY])
    settings = {
        "algorithm": "dpo",
        "training": config.to_json(),
        **roles.loaded.record,
        **trained_parameters.of(roles, [POLICY]),
    }
    card = request.card("Policy", settings, end.summary | split.counts | measured)

    def write(aside: Path) -> None:
        saving.save_policy(roles, aside, role=POLICY)

    folder.publish(card, write)


@torch.no_grad()
def measure(roles: Roles, heldout: Sequence[RankedPrompt], config: DpoConfig) -> dict[str, float]:
    """Return how well implicit rewards fit held-out comparisons; empty if all are too long."""
    fit, _ = split_by_length(heldout, config.max_tokens)
    if not fit:
        return {}
    rewards: list[Tensor] = []
    for at in range(0, len(fit), config.batch_rankings):
        with roles.role(POLICY):
            rewards += dpo.implicit_rewards(roles, fit[at : at + config.batch_rankings], config)
    result = fit_of(rewards, fit)
    return {
        "heldout/loss": result.loss,
        "heldout/accuracy": result.accuracy,
        "heldout/margin": result.margin,
    }

"""A policy straight from the judged comparisons in a file, without a reward model."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from app.domain.plan import Algorithm
from worker.files import rows, training
from worker.files.folder import RunFolder
from worker.files.training import Wanted
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.model import saving
from worker.rlhf.model.roles import SFT, LoraSettings, Roles
from worker.rlhf.policy import dpo
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.reward.ranking_loss import fit_of, split_by_length
from worker.runs import algorithms, following
from worker.runs.weights import POLICY


def run(wanted: Wanted, folder: RunFolder) -> None:
    """Train a policy by direct preference optimisation."""
    parted = wanted.read(rows.comparisons)
    roles = wanted.roles()
    new = LoraSettings(wanted.plan.policy.lora.r, wanted.plan.policy.lora.alpha)
    config = algorithms.dpo_config(wanted.plan, roles.settings.get(SFT, new))
    train = training.rankings(parted.train, roles, wanted.instruction)
    dpo.prepare(roles, config)
    state = training.begin(folder)
    loop = dpo.train(roles, train, config, state)
    ended = following.follow(
        folder, loop, state, save_every=wanted.save_every, note=algorithms.NOTES[Algorithm.DPO]
    )
    metrics = training.figures(ended, parted)
    metrics |= measure(roles, training.rankings(parted.heldout, roles, wanted.instruction), config)
    settings = {"algorithm": "dpo", "training": config.to_json()}

    def write(aside: Path) -> None:
        saving.save_policy(roles, aside, role=POLICY)

    folder.publish(wanted.card("Policy", settings, metrics), write)


@torch.no_grad()
def measure(roles: Roles, heldout: Sequence[RankedPrompt], config: DpoConfig) -> dict[str, float]:
    """Return how the policy's own preferences fit held-out comparisons; nothing where none fits."""
    fit, _ = split_by_length(heldout, config.max_tokens)
    if not fit:
        return {}
    moved: list[Tensor] = []
    for at in range(0, len(fit), config.batch_rankings):
        with roles.role(POLICY):
            moved += dpo.implicit_rewards(roles, fit[at : at + config.batch_rankings], config)
    found = fit_of(moved, fit)
    return {
        "heldout/loss": found.loss,
        "heldout/accuracy": found.accuracy,
        "heldout/margin": found.margin,
    }

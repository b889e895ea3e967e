"""REINFORCE with a leave-one-out baseline: several answers a prompt instead of a value role.

RLOO of Ahmadian et al. 2024 (arXiv 2402.14740, equation 6): an answer's advantage is its reward
less the mean reward of the prompt's other answers, the KL price of the whole answer included.
Departure: PPO's clipped ratio stays, which at one epoch and one minibatch changes nothing.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from worker.rlhf.core.examples import PromptItem
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import lora_kernel
from worker.rlhf.model.roles import SFT, Roles
from worker.rlhf.policy import ppo, rollout
from worker.rlhf.policy.policy_watch import Watch
from worker.rlhf.policy.ppo import PpoConfig, Targets, Update
from worker.rlhf.policy.rollout import Rollout
from worker.rlhf.reward.scoring import RewardFunction


@dataclass(frozen=True, slots=True)
class RlooConfig:
    """`samples` answers to each prompt; the rest as in PPO, of which values are not used."""

    samples: int = 4
    ppo: PpoConfig = field(default_factory=lambda: PpoConfig(epochs=1))

    def __post_init__(self) -> None:
        """Refuse a baseline of nothing and batches that do not divide."""
        if self.samples < 2:
            raise ValueError(f"samples must be at least 2 to leave one out, got {self.samples}")
        if self.ppo.episodes % self.samples:
            raise ValueError(
                f"episodes must be a multiple of samples, got {self.ppo.episodes} "
                f"and {self.samples}"
            )

    def to_json(self) -> dict[str, object]:
        """Return what the manifest keeps."""
        return {"samples": self.samples, **self.ppo.to_json()}


def prepare(roles: Roles, config: RlooConfig) -> None:
    """Add the policy, started from the SFT adapter if there is one."""
    source = SFT if roles.has_adapter(SFT) else None
    roles.add_adapter("policy", config.ppo.lora, init_from=source, seed=config.ppo.seed)
    lora_kernel.install(roles.causal)


def train(
    roles: Roles,
    prompts: Sequence[PromptItem],
    heldout: Sequence[PromptItem],
    reward: RewardFunction,
    config: RlooConfig,
    state: TrainingState,
) -> Iterator[StepReport]:
    """Train the prepared policy, and yield every step; the end is as in `ppo.train`.

    Raises:
        ValueError: if there is no prompt.

    """
    if not prompts:
        raise ValueError("RLOO needs at least one prompt")
    own = config.ppo
    update = Update(roles, own, state, {"policy": ppo.policy_loss}, trained=("policy",))
    watch = Watch(roles, heldout, reward, own.watch, own.sampling, own.forward, state)
    watch.look_at_the_start(own.kl_coefficient)
    while "stop_reason" not in state.values:
        coefficient = ppo.kl_coefficient(own, state)
        batch = rollout.collect(
            roles,
            draw(prompts, state.step + 1, config),
            reward,
            rollout.seeded(own.sampling, own.seed, state.step + 1),
            own.forward,
            with_values=False,
        )
        started = time.perf_counter()
        metrics = update.step(targets_of(batch, config, coefficient))
        metrics |= rollout.metrics(batch, train_s=time.perf_counter() - started)
        yield ppo.finish_step(watch, own, state, metrics, coefficient)


def draw(prompts: Sequence[PromptItem], step: int, config: RlooConfig) -> list[PromptItem]:
    """Return the prompts of a step, each `samples` times in a row under keys of their own."""
    chosen = rollout.draw(prompts, step, config.ppo.episodes // config.samples, config.ppo.seed)
    return [
        PromptItem(f"{item.key}/{sample}", item.prompt_ids)
        for item in chosen
        for sample in range(config.samples)
    ]


def targets_of(batch: Rollout, config: RlooConfig, coefficient: float) -> Targets:
    """Return the same leave-one-out advantage for all tokens of an answer."""
    total = ppo.token_rewards(batch, config.ppo, coefficient).sum(1)  # B
    mask = batch.episodes.is_response
    gains = leave_one_out(total.view(-1, config.samples)).flatten()[:, None] * mask
    return Targets(batch, gains, gains)


def leave_one_out(rewards: Tensor) -> Tensor:
    """Return each reward less the mean of the others in its row, [B, K]."""
    count = rewards.shape[1]
    others = (rewards.sum(1, keepdim=True) - rewards) / (count - 1)
    return rewards - others

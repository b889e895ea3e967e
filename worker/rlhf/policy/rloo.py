"""REINFORCE leave-one-out: the baseline is the prompt's other responses instead of a value role.

RLOO of Ahmadian et al. 2024 (arXiv 2402.14740, equation 6): the advantage of a response is its
reward, including the KL penalty of the whole response, minus the mean reward of the prompt's other
responses. Departure: PPO's clipped ratio is kept; with one epoch and one minibatch it has no
effect.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from worker.rlhf.core.examples import PromptItem
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import lora_kernel
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import ppo, rollout, served_rollout
from worker.rlhf.policy.fresh_votes import FreshVotes
from worker.rlhf.policy.policy_watch import PolicyWatch
from worker.rlhf.policy.ppo import PpoConfig, Targets, Update
from worker.rlhf.policy.rollout import Rollout
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.sampling.served_policy import ServedPolicy


@dataclass(frozen=True, slots=True)
class RlooConfig:
    """Settings of RLOO: `samples` responses per prompt, and those of PPO except for values."""

    samples: int = 4
    ppo: PpoConfig = field(default_factory=lambda: PpoConfig(epochs=1))

    def __post_init__(self) -> None:
        """Refuse a single sample per prompt, and batches that `samples` does not divide.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        if self.samples < 2:
            raise ValueError(f"samples must be at least 2 to leave one out, got {self.samples}")
        if self.ppo.episodes % self.samples:
            raise ValueError(
                f"episodes must be a multiple of samples, got {self.ppo.episodes} "
                f"and {self.samples}"
            )

    def to_json(self) -> dict[str, object]:
        """Return the settings as plain values for the manifest."""
        return {"samples": self.samples, **self.ppo.to_json()}


def prepare(roles: Roles, config: RlooConfig) -> None:
    """Add the policy, as a copy of the SFT adapter if there is one."""
    roles.add_policy(config.ppo.lora, seed=config.ppo.seed)
    lora_kernel.install(roles.causal)


def train(
    roles: Roles,
    prompts: Sequence[PromptItem],
    heldout: Sequence[PromptItem],
    reward: RewardFunction,
    config: RlooConfig,
    state: TrainingState,
    fresh: FreshVotes | None = None,
    served: ServedPolicy | None = None,
) -> Iterator[StepReport]:
    """Train the prepared policy and yield a report per step; the run ends as in `ppo.train`.

    Raises:
        ValueError: if there is no prompt.
    """
    if not prompts:
        raise ValueError("RLOO needs at least one prompt")
    settings = config.ppo
    update = Update(roles, settings, state, {"policy": ppo.policy_loss}, trained=("policy",))
    watch = PolicyWatch(
        roles,
        heldout,
        reward,
        settings.watch,
        settings.sampling,
        settings.forward,
        state,
        fresh,
        served,
    )
    watch.evaluate_start(settings.kl_coefficient)
    while "stop_reason" not in state.values:
        coefficient = ppo.kl_coefficient(settings, state)
        batch = served_rollout.collect(
            roles,
            draw(prompts, state.step + 1, config),
            reward,
            rollout.seeded(settings.sampling, settings.seed, state.step + 1),
            settings.forward,
            with_values=False,
            source=None if served is None else served.at(state.step),
        )
        started = time.perf_counter()
        metrics = update.step(targets_of(batch, config, coefficient))
        metrics |= rollout.metrics_of(batch, train_s=time.perf_counter() - started)
        metrics |= served_rollout.metrics_of(batch, served, state.step)
        yield ppo.finish_step(watch, settings, state, metrics, coefficient)


def draw(prompts: Sequence[PromptItem], step: int, config: RlooConfig) -> list[PromptItem]:
    """Return the prompts of a step, each `samples` times in a row with distinct keys."""
    drawn = rollout.draw(prompts, step, config.ppo.episodes // config.samples, config.ppo.seed)
    return [
        PromptItem(f"{item.key}/{sample}", item.prompt_ids)
        for item in drawn
        for sample in range(config.samples)
    ]


def targets_of(batch: Rollout, config: RlooConfig, coefficient: float) -> Targets:
    """Return a rollout with one leave-one-out advantage for all tokens of a response."""
    rewards = ppo.token_rewards(batch, config.ppo, coefficient).sum(1)  # B
    response_advantages = leave_one_out(rewards.view(-1, config.samples)).flatten()  # B
    token_advantages = response_advantages[:, None] * batch.episodes.is_response
    return Targets(batch, token_advantages, token_advantages)


def leave_one_out(rewards: Tensor) -> Tensor:
    """Return each reward minus the mean of the others in its row, [B, K]."""
    count = rewards.shape[1]
    others = (rewards.sum(1, keepdim=True) - rewards) / (count - 1)
    return rewards - others

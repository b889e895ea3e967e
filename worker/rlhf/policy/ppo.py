"""Proximal policy optimization of a policy adapter against a reward, with a value adapter.

PPO as in InstructGPT (arXiv 2203.02155, appendix C.4), on one base model in memory. Departures: the
KL penalty is per token with k1, and the value function is a LoRA role initialized from the reward
model. One step is one batch of episodes; only `TrainingState` is kept between steps.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from worker.rlhf.core import config_checks, epoch_order, losses, optimization, schedule
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import lora_kernel
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.policy import advantages, kl, rollout, served_rollout
from worker.rlhf.policy.fresh_votes import FreshVotes
from worker.rlhf.policy.metric_sums import MetricSums
from worker.rlhf.policy.policy_watch import PolicyWatch, WatchConfig
from worker.rlhf.policy.rollout import Episodes, Forward, Rollout
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.served_policy import ServedPolicy


@dataclass(frozen=True, slots=True)
class PpoConfig:
    """Settings of PPO.

    `minibatches` is the number of updates per pass over a batch. `value_trunk` "policy" puts the
    value head on the policy's hidden states: half the work, without initialization from the reward
    model. `token_budget` bounds the tokens per forward pass and affects nothing else. `value_scale`
    converts the output of a head copied from a reward model to the scale of the normalized reward.
    """

    steps: int = 40
    episodes: int = 64
    epochs: int = 4
    minibatches: int = 1
    policy_learning_rate: float = 3e-4
    value_learning_rate: float = 3e-4
    adam_eps: float = 1e-5
    grad_clip: float = 1.0
    gamma: float = 1.0
    lam: float = 0.95
    ratio_clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 0.1
    kl_coefficient: float = 0.1
    kl_control: Literal["fixed", "adaptive"] = "fixed"
    kl_target_nats: float = 6.0
    kl_horizon: float = 10_000.0
    reward_clip: float = 10.0
    missing_eos_penalty: float = 1.0
    max_new_tokens: int = 64
    temperature: float = 1.0
    seed: int = 0
    autocast: bool | None = None
    token_budget: int = 2048
    value_trunk: Literal["value", "policy"] = "value"
    value_scale: Scale = field(default_factory=Scale)
    watch: WatchConfig = field(default_factory=WatchConfig)
    lora: LoraSettings = field(default_factory=LoraSettings)

    def __post_init__(self) -> None:
        """Refuse settings that no run can use.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        config_checks.require_positive(
            self, "steps", "episodes", "epochs", "minibatches", "max_new_tokens"
        )
        config_checks.require_positive(
            self, "policy_learning_rate", "value_learning_rate", "adam_eps"
        )
        config_checks.require_positive(
            self, "grad_clip", "ratio_clip", "value_clip", "reward_clip", "temperature"
        )
        config_checks.require_positive(self, "kl_target_nats", "kl_horizon", "token_budget")
        config_checks.require_within(self, 0.0, 1.0, "gamma", "lam")
        config_checks.require_within(self, 0.0, math.inf, "value_coefficient", "kl_coefficient")
        config_checks.require_within(self, 0.0, math.inf, "missing_eos_penalty")
        if self.minibatches > self.episodes:
            raise ValueError(
                f"minibatches must be at most the {self.episodes} episodes, got {self.minibatches}"
            )

    def to_json(self) -> dict[str, object]:
        """Return the settings as plain values for the manifest."""
        return asdict(self)

    @property
    def forward(self) -> Forward:
        """How roles are evaluated on tokens."""
        # A head on the policy's trunk starts at 0 and learns the normalized reward directly.
        scale = self.value_scale if self.value_trunk == "value" else Scale()
        return Forward(self.temperature, self.autocast, self.token_budget, scale, self.value_trunk)

    @property
    def sampling(self) -> SamplingConfig:
        """How responses are sampled, except for the seed of the step."""
        return SamplingConfig(max_new_tokens=self.max_new_tokens, temperature=self.temperature)

    @property
    def controller(self) -> kl.Controller:
        """The KL-coefficient controller."""
        if self.kl_control == "fixed":
            return kl.Fixed(self.kl_coefficient)
        return kl.Adaptive(self.kl_coefficient, self.kl_target_nats, self.kl_horizon)


def prepare(roles: Roles, config: PpoConfig, *, reward: str | None = "reward") -> None:
    """Add the policy, as a copy of SFT if there is one, and the value, as a copy of the reward."""
    roles.add_policy(config.lora, seed=config.seed)
    roles.add_head("value", seed=config.seed + 1)
    if config.value_trunk == "policy":
        torch.nn.init.zeros_(roles.head("value").weight)
    else:
        roles.add_adapter("value", config.lora, init_from=reward, seed=config.seed + 1)
        if reward is not None:
            roles.copy_role(reward, "value")
    lora_kernel.install(roles.causal)


def train(
    roles: Roles,
    prompts: Sequence[PromptItem],
    heldout: Sequence[PromptItem],
    reward: RewardFunction,
    config: PpoConfig,
    state: TrainingState,
    fresh: FreshVotes | None = None,
    served: ServedPolicy | None = None,
) -> Iterator[StepReport]:
    """Train the prepared policy and value roles, and yield a report per step.

    Responses are sampled here, or by the server of `served`. With the last report the model has the
    best weights before any alarm, by held-out reward minus KL penalty; `state.best` holds their
    step, the report the reason to stop.

    Raises:
        ValueError: if there is no prompt.
    """
    if not prompts:
        raise ValueError("PPO needs at least one prompt")
    update = Update(roles, config, state)
    watch = PolicyWatch(
        roles, heldout, reward, config.watch, config.sampling, config.forward, state, fresh, served
    )
    watch.evaluate_start(config.kl_coefficient)
    while "stop_reason" not in state.values:
        coefficient = kl_coefficient(config, state)
        batch = served_rollout.collect(
            roles,
            rollout.draw(prompts, state.step + 1, config.episodes, config.seed),
            reward,
            rollout.seeded(config.sampling, config.seed, state.step + 1),
            config.forward,
            with_values=True,
            source=None if served is None else served.at(state.step),
        )
        started = time.perf_counter()
        targets = targets_of(batch, config, coefficient)
        metrics = update.step(targets)
        metrics["value/explained_variance"] = float(
            advantages.explained_variance(batch.values, targets.returns, batch.episodes.is_response)
        )
        metrics |= rollout.metrics_of(batch, train_s=time.perf_counter() - started)
        metrics |= served_rollout.metrics_of(batch, served, state.step)
        yield finish_step(watch, config, state, metrics, coefficient)


def kl_coefficient(config: PpoConfig, state: TrainingState) -> float:
    """Return the current KL coefficient."""
    return cast(float, state.values.get("kl_coefficient", config.kl_coefficient))


def finish_step(
    watch: PolicyWatch,
    config: PpoConfig,
    state: TrainingState,
    metrics: dict[str, float],
    coefficient: float,
) -> StepReport:
    """Count the step, update the KL coefficient, and report."""
    state.step += 1
    controller = config.controller.with_coefficient(coefficient)
    controller = controller.after(metrics["kl/k1"], config.episodes)
    state.values["kl_coefficient"] = controller.coefficient
    metrics["kl/coefficient"] = coefficient
    # Evaluations are compared at a fixed KL coefficient, or the best of them would mean nothing.
    return watch.report(metrics, config.kl_coefficient, steps_total=config.steps)


def token_rewards(batch: Rollout, config: PpoConfig, coefficient: float) -> Tensor:
    """Return the reward of each response token, [B, R].

    The KL penalty at every token; at the last token also the normalized score, clipped to
    ±`reward_clip`, minus a penalty if the response did not end with an EOS token.
    """
    is_response = batch.episodes.is_response
    rewards = -coefficient * kl.k1(batch.logprobs, batch.reference)
    score = batch.scores.normalized.clamp(-config.reward_clip, config.reward_clip)
    score = score - config.missing_eos_penalty * (~batch.episodes.is_finished).float()
    last_token = batch.episodes.lengths - 1
    rewards[torch.arange(len(last_token)), last_token] += score
    return rewards.masked_fill(~is_response, 0.0)


class Update:
    """The trained roles with their optimizers and losses, and their update on a rollout."""

    def __init__(
        self,
        roles: Roles,
        config: PpoConfig,
        state: TrainingState,
        role_losses: "Mapping[str, RoleLoss] | None" = None,
        trained: Sequence[str] = ("policy", "value"),
    ) -> None:
        self.roles, self.config, self.state = roles, config, state
        self.role_losses = role_losses or losses_of(config)
        self.rates = {
            "policy": config.policy_learning_rate,
            "value": config.value_learning_rate,
        }
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            role: torch.optim.AdamW(
                roles.parameters_of(role),
                lr=self.rates[role],
                eps=config.adam_eps,
                weight_decay=0.0,
                fused=True,
            )
            for role in trained
        }
        weights: dict[str, Parameter] = {}
        for role in trained:
            weights |= roles.named_parameters_of(role)
        state.register(weights, self.optimizers)

    def step(self, targets: "Targets") -> dict[str, float]:
        """Run all epochs over a rollout and return the mean metrics."""
        rate_share = schedule.linear(self.state.step, self.config.steps)
        sums = MetricSums()
        for epoch in range(self.config.epochs):
            for rows in self._minibatches(len(targets.rollout.episodes.prompts), epoch):
                self.accumulate(targets, rows, sums)
                self._advance(rate_share, sums)
        sums = MetricSums.total(self.roles.team.gather([sums.settled()]))
        return sums.means() | {"learning_rate": rate_share * self.config.policy_learning_rate}

    def _minibatches(self, episodes: int, epoch: int) -> Iterator[list[int]]:
        """Yield the rows of each minibatch in an order set by seed, step and epoch alone."""
        epochs_before = self.state.step * self.config.epochs
        order = epoch_order.permutation(episodes, self.config.seed, epochs_before + epoch)
        for rows in order.chunk(self.config.minibatches):
            yield rows.tolist()

    def accumulate(self, targets: "Targets", rows: Sequence[int], sums: MetricSums) -> None:
        """Accumulate the gradients of a minibatch, one role after the other.

        Each backward pass follows its own forward pass.
        """
        episodes = targets.rollout.episodes
        tokens = int(episodes.lengths[list(rows)].sum())
        own_rows = rollout.own_share(self.roles, episodes, rows)

        def backward() -> MetricSums:
            own = MetricSums()
            batches = rollout.micro_batches(self.roles, episodes, own_rows, self.config.forward)
            passes = self.roles.team.in_step(batches, lambda: self._idle(episodes, rows))
            for role, role_loss in self.role_losses.items():
                with self.roles.role(role):
                    for batch, weight in passes:
                        loss_sum, metric_sums = role_loss(self.roles, targets, batch, self.config)
                        torch.autograd.backward(weight * loss_sum / tokens)
                        if weight:
                            own.add(metric_sums, count=batch.response_tokens)
            return own

        forget = [p for role in self.optimizers for p in self.roles.parameters_of(role)]
        sums.merge(self.roles.room.taking(backward, tokens=self.config.token_budget, forget=forget))
        for role in self.optimizers:
            self.roles.team.sum_gradients(self.roles.parameters_of(role))

    def _idle(self, episodes: Episodes, rows: Sequence[int]) -> Batch:
        """Return a small batch of the minibatch, for a process that has no more of its own."""
        smallest = [min(rows, key=lambda row: int(episodes.lengths[row]))]
        return rollout.micro_batches(self.roles, episodes, smallest, self.config.forward)[0]

    def _advance(self, rate_share: float, sums: MetricSums) -> None:
        """Clip gradients per role, so that large value gradients leave the policy's, and step."""
        for role, optimizer in self.optimizers.items():
            norm = optimization.clip(self.roles.parameters_of(role), self.config.grad_clip)
            sums.add({f"grad_norm/{role}": norm}, count=1)
            optimization.advance(optimizer, self.rates[role] * rate_share)


@dataclass(frozen=True, slots=True)
class Targets:
    """A rollout with the advantages and returns of its tokens, [B, R] each."""

    rollout: Rollout
    advantages: Tensor
    returns: Tensor

    def of(self, batch: Batch, matrix: Tensor) -> Tensor:
        """Return the entries of a matrix for the response tokens of a micro-batch, [N]."""
        return rollout.pick(matrix, self.rollout.episodes, batch)


def targets_of(batch: Rollout, config: PpoConfig, coefficient: float) -> Targets:
    """Return a rollout with its returns and its advantages, whitened over the whole batch."""
    is_response = batch.episodes.is_response
    token_advantages, returns = advantages.estimate(
        token_rewards(batch, config, coefficient),
        batch.values,
        is_response,
        gamma=config.gamma,
        lam=config.lam,
    )
    return Targets(batch, advantages.whiten(token_advantages, is_response), returns)


def policy_loss(
    roles: Roles, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the clipped surrogate summed over tokens, and the sums of its metrics."""
    logprobs, entropy, _ = rollout.policy_outputs(roles, batch, config.forward, with_values=False)
    return _surrogate(logprobs, entropy, targets, batch, config)


def value_loss(
    roles: Roles, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted clipped value loss summed over tokens, and the sum of its metric."""
    values = rollout.token_values(roles, batch, config.forward)
    return _value_regression(values, targets, batch, config)


def joint_loss(
    roles: Roles, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return both losses summed over tokens of one forward pass, and the sums of their metrics."""
    logprobs, entropy, values = rollout.policy_outputs(
        roles, batch, config.forward, with_values=True
    )
    assert values is not None
    surrogate, policy_sums = _surrogate(logprobs, entropy, targets, batch, config)
    regression, value_sums = _value_regression(values, targets, batch, config)
    return surrogate + regression, policy_sums | value_sums


def _surrogate(
    logprobs: Tensor, entropy: Tensor | None, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    log_ratio = logprobs - targets.of(batch, targets.rollout.logprobs)
    ratio = log_ratio.exp()
    token_advantages = targets.of(batch, targets.advantages)
    loss = losses.clipped_policy(ratio, token_advantages, config.ratio_clip).sum()
    with torch.no_grad():
        sums = {
            "loss/policy": loss.detach(),
            "policy/entropy": torch.zeros(()) if entropy is None else entropy.sum(),
            "policy/ratio": ratio.sum(),
            "policy/ratio_deviation": (ratio - 1.0).abs().sum(),
            "policy/clip_fraction": ((ratio - 1.0).abs() > config.ratio_clip).sum(),
            # Tokens were sampled from the old policy.
            "policy/approx_kl": kl.k3(logprobs - log_ratio, logprobs).sum(),
        }
    return loss, sums


def _value_regression(
    values: Tensor, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    old_values = targets.of(batch, targets.rollout.values)
    returns = targets.of(batch, targets.returns)
    loss = losses.clipped_value(values, old_values, returns, config.value_clip).sum()
    return config.value_coefficient * loss, {"loss/value": loss.detach()}


RoleLoss = Callable[[Roles, Targets, Batch, PpoConfig], tuple[Tensor, dict[str, Tensor]]]
"""A role's loss summed over the tokens of a micro-batch, and the sums of its metrics."""


def losses_of(config: PpoConfig) -> Mapping[str, RoleLoss]:
    """Return the loss of each role's forward pass; with a shared trunk there is only one."""
    if config.value_trunk == "policy":
        return {"policy": joint_loss}
    return {"policy": policy_loss, "value": value_loss}

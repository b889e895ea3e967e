"""Proximal policy optimisation of a policy adapter against a reward, with a value adapter.

PPO as InstructGPT used it (arXiv 2203.02155, appendix C.4), on one base in memory. Departures: the
KL price is per token with k1 and the value is a LoRA role started from the reward model. One step
is one batch of episodes; nothing but `TrainingState` outlives it.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_

from worker.rlhf.core import checks, losses, schedule
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import lora_kernel
from worker.rlhf.model.roles import SFT, LoraSettings, Roles
from worker.rlhf.policy import advantages, kl, rollout
from worker.rlhf.policy.policy_watch import Watch, WatchConfig
from worker.rlhf.policy.rollout import Forward, Rollout
from worker.rlhf.reward.normaliser import Scale
from worker.rlhf.reward.scoring import RewardFunction
from worker.rlhf.sampling.sampling import SamplingConfig


@dataclass(frozen=True, slots=True)
class PpoConfig:
    """How a policy is trained.

    `minibatches` is how many updates one pass over a batch makes. `value_trunk` "policy" puts the
    value head on the policy's hidden states: half the work, without the reward model's knowledge.
    `token_budget` bounds the tokens of one forward and changes nothing else. `value_scale` puts the
    head taken over from a reward model on the scale of the normalised reward.
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
        checks.positive(self, "steps", "episodes", "epochs", "minibatches", "max_new_tokens")
        checks.positive(self, "policy_learning_rate", "value_learning_rate", "adam_eps")
        checks.positive(self, "grad_clip", "ratio_clip", "value_clip", "reward_clip", "temperature")
        checks.positive(self, "kl_target_nats", "kl_horizon", "token_budget")
        checks.within(self, 0.0, 1.0, "gamma", "lam")
        checks.within(self, 0.0, math.inf, "value_coefficient", "kl_coefficient")
        checks.within(self, 0.0, math.inf, "missing_eos_penalty")
        if self.minibatches > self.episodes:
            raise ValueError(
                f"minibatches must be at most the {self.episodes} episodes, got {self.minibatches}"
            )

    def to_json(self) -> dict[str, object]:
        """Return what the manifest keeps."""
        return asdict(self)

    @property
    def forward(self) -> Forward:
        """How roles are run over tokens."""
        # A head that starts at 0 on the policy's trunk already speaks of the normalised reward.
        scale = self.value_scale if self.value_trunk == "value" else Scale()
        return Forward(self.temperature, self.autocast, self.token_budget, scale, self.value_trunk)

    @property
    def sampling(self) -> SamplingConfig:
        """How answers are sampled, but for the seed of the step."""
        return SamplingConfig(max_new_tokens=self.max_new_tokens, temperature=self.temperature)

    @property
    def controller(self) -> kl.Controller:
        """What sets the price of KL."""
        if self.kl_control == "fixed":
            return kl.Fixed(self.kl_coefficient)
        return kl.Adaptive(self.kl_coefficient, self.kl_target_nats, self.kl_horizon)


def prepare(roles: Roles, config: PpoConfig, *, reward: str | None = "reward") -> None:
    """Add policy and value: the one from the SFT adapter if any, the other from a reward model."""
    source = SFT if roles.has_adapter(SFT) else None
    roles.add_adapter("policy", config.lora, init_from=source, seed=config.seed)
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
) -> Iterator[StepReport]:
    """Train the prepared policy and value roles, and yield every step.

    The best weights by the held-out reward minus the KL price, before any alarm, are in the model
    when the last report comes; `state.best` says which step's they are, the report why it ended.

    Raises:
        ValueError: if there is no prompt.

    """
    if not prompts:
        raise ValueError("PPO needs at least one prompt")
    update = Update(roles, config, state)
    watch = Watch(roles, heldout, reward, config.watch, config.sampling, config.forward, state)
    watch.look_at_the_start(config.kl_coefficient)
    while "stop_reason" not in state.values:
        coefficient = kl_coefficient(config, state)
        batch = rollout.collect(
            roles,
            rollout.draw(prompts, state.step + 1, config.episodes, config.seed),
            reward,
            rollout.seeded(config.sampling, config.seed, state.step + 1),
            config.forward,
            with_values=True,
        )
        started = time.perf_counter()
        targets = targets_of(batch, config, coefficient)
        metrics = update.step(targets)
        metrics["value/explained_variance"] = float(
            advantages.explained_variance(batch.values, targets.returns, batch.episodes.is_response)
        )
        metrics |= rollout.metrics(batch, train_s=time.perf_counter() - started)
        yield finish_step(watch, config, state, metrics, coefficient)


def kl_coefficient(config: PpoConfig, state: TrainingState) -> float:
    """Return the price of KL as the last step left it."""
    return cast(float, state.values.get("kl_coefficient", config.kl_coefficient))


def finish_step(
    watch: Watch,
    config: PpoConfig,
    state: TrainingState,
    metrics: dict[str, float],
    coefficient: float,
) -> StepReport:
    """Count the step, let the controller set the next price of KL, and report."""
    state.step += 1
    controller = config.controller.with_coefficient(coefficient)
    controller = controller.after(metrics["kl/k1"], config.episodes)
    state.values["kl_coefficient"] = controller.coefficient
    metrics["kl/coefficient"] = coefficient
    # All looks are held against one price, or the best of them would mean nothing.
    return watch.report(metrics, config.kl_coefficient, steps_total=config.steps)


def token_rewards(batch: Rollout, config: PpoConfig, coefficient: float) -> Tensor:
    """Return the reward of each response token, [B, R].

    The price of KL at every token; at the last the normalised score within ±`reward_clip`, less the
    penalty where the answer did not end itself.
    """
    is_response = batch.episodes.is_response
    rewards = -coefficient * kl.k1(batch.logprobs, batch.reference)
    final = batch.scores.normalised.clamp(-config.reward_clip, config.reward_clip)
    final = final - config.missing_eos_penalty * (~batch.episodes.is_finished).float()
    last = batch.episodes.lengths - 1
    rewards[torch.arange(len(last)), last] += final
    return rewards.masked_fill(~is_response, 0.0)


class Update:
    """The optimisers of the roles trained, each with its loss, and a step of them on a rollout."""

    def __init__(
        self,
        roles: Roles,
        config: PpoConfig,
        state: TrainingState,
        parts: "Mapping[str, Part] | None" = None,
        trained: Sequence[str] = ("policy", "value"),
    ) -> None:
        self.roles, self.config, self.state = roles, config, state
        self.parts = parts or parts_of(config)
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
        """Run all epochs over a rollout and return what they did."""
        share = schedule.linear(self.state.step, self.config.steps)
        tally = Tally()
        for epoch in range(self.config.epochs):
            for rows in self._minibatches(len(targets.rollout.episodes.prompts), epoch):
                self.accumulate(targets, rows, tally)
                self._advance(share, tally)
        tally = Tally.total(self.roles.team.gather([tally]))
        return tally.means() | {"learning_rate": share * self.config.policy_learning_rate}

    def _minibatches(self, episodes: int, epoch: int) -> Iterator[list[int]]:
        """Yield the rows of each minibatch, shuffled by seed, step and epoch alone."""
        number = self.state.step * self.config.epochs + epoch
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)
        order = torch.randperm(episodes, generator=generator)
        for part in order.chunk(self.config.minibatches):
            yield part.tolist()

    def accumulate(self, targets: "Targets", rows: Sequence[int], tally: "Tally") -> None:
        """Add up a minibatch's gradients; each role's backward follows its own forward."""
        episodes = targets.rollout.episodes
        tokens = int(episodes.lengths[list(rows)].sum())
        mine = rollout.share(self.roles, episodes, rows)
        for batch in rollout.micro_batches(self.roles, episodes, mine, self.config.forward):
            for role, part in self.parts.items():
                with self.roles.role(role):
                    total, found = part(self.roles, targets, batch, self.config)
                    torch.autograd.backward(total / tokens)
                tally.add(found, count=int(batch.is_response.sum()))
        for role in self.optimizers:
            self.roles.team.sum_gradients(self.roles.parameters_of(role))

    def _advance(self, rate_share: float, tally: "Tally") -> None:
        """Clip the gradients per role, or the value's would squeeze the policy's, and step."""
        for role, optimizer in self.optimizers.items():
            norm = clip_grad_norm_(self.roles.parameters_of(role), self.config.grad_clip)
            tally.add({f"grad_norm/{role}": norm}, count=1)
            for group in optimizer.param_groups:
                group["lr"] = self.rates[role] * rate_share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


@dataclass(frozen=True, slots=True)
class Targets:
    """A rollout with what its tokens are pushed towards, [B, R] each."""

    rollout: Rollout
    advantages: Tensor
    returns: Tensor

    def of(self, batch: Batch, matrix: Tensor) -> Tensor:
        """Return a matrix's entries for the response tokens of a micro-batch, [N]."""
        return rollout.pick(matrix, self.rollout.episodes, batch)


def targets_of(batch: Rollout, config: PpoConfig, coefficient: float) -> Targets:
    """Return advantages, whitened over the whole batch, and returns of a rollout."""
    is_response = batch.episodes.is_response
    gains, returns = advantages.estimate(
        token_rewards(batch, config, coefficient),
        batch.values,
        is_response,
        gamma=config.gamma,
        lam=config.lam,
    )
    return Targets(batch, advantages.whiten(gains, is_response), returns)


def policy_loss(
    roles: Roles, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the clipped surrogate summed over tokens, and sums of what is logged about it."""
    found, entropy, _ = rollout.policy_outputs(roles, batch, config.forward, with_values=False)
    return _surrogate(found, entropy, targets, batch, config)


def value_loss(
    roles: Roles, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted clipped value loss summed over tokens, and it for the log."""
    return _regression(rollout.token_values(roles, batch, config.forward), targets, batch, config)


def joint_loss(
    roles: Roles, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return both losses summed over tokens, off one forward of the policy."""
    found, entropy, values = rollout.policy_outputs(roles, batch, config.forward, with_values=True)
    assert values is not None
    surrogate, of_policy = _surrogate(found, entropy, targets, batch, config)
    regression, of_value = _regression(values, targets, batch, config)
    return surrogate + regression, of_policy | of_value


def _surrogate(
    found: Tensor, entropy: Tensor | None, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    log_ratio = found - targets.of(batch, targets.rollout.logprobs)
    ratio = log_ratio.exp()
    gains = targets.of(batch, targets.advantages)
    loss = losses.clipped_policy(ratio, gains, config.ratio_clip).sum()
    with torch.no_grad():
        sums = {
            "loss/policy": loss.detach(),
            "policy/entropy": torch.zeros(()) if entropy is None else entropy.sum(),
            "policy/ratio": ratio.sum(),
            "policy/ratio_deviation": (ratio - 1.0).abs().sum(),
            "policy/clip_fraction": ((ratio - 1.0).abs() > config.ratio_clip).sum(),
            # The tokens are the old policy's.
            "policy/approx_kl": kl.k3(found - log_ratio, found).sum(),
        }
    return loss, sums


def _regression(
    values: Tensor, targets: Targets, batch: Batch, config: PpoConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    old = targets.of(batch, targets.rollout.values)
    returns = targets.of(batch, targets.returns)
    loss = losses.clipped_value(values, old, returns, config.value_clip).sum()
    return config.value_coefficient * loss, {"loss/value": loss.detach()}


Part = Callable[[Roles, Targets, Batch, PpoConfig], tuple[Tensor, dict[str, Tensor]]]
"""A role's loss summed over the tokens of a micro-batch, and the sums to be logged."""


def parts_of(config: PpoConfig) -> "Mapping[str, Part]":
    """Return the losses of each forward: one role's each, or both off the policy's trunk."""
    if config.value_trunk == "policy":
        return {"policy": joint_loss}
    return {"policy": policy_loss, "value": value_loss}


class Tally:
    """Sums of what updates did, with the tokens or the times to divide by."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, sums: Mapping[str, Tensor | float], *, count: int) -> None:
        """Add sums over `count` tokens, or figures of one update."""
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._counts[name] = self._counts.get(name, 0) + count

    @classmethod
    def total(cls, parts: Sequence["Tally"]) -> "Tally":
        """Return what several processes tallied, as one."""
        found = cls()
        for part in parts:
            for name, value in part._sums.items():
                found.add({name: value}, count=part._counts[name])
        return found

    def means(self) -> dict[str, float]:
        """Return each sum over its count."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}

"""Direct preference optimization: a policy from ranked prompts, without a reward model.

DPO of Rafailov et al. 2023 (arXiv 2305.18290, equation 7), with soft targets from vote shares,
label smoothing (Mitchell 2023, "cDPO") and weights. One forward pass of a completion serves all its
pairs.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from worker.rlhf.core import batches, config_checks, device_reads, optimization, schedule
from worker.rlhf.core.epoch_order import EpochBatches
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import lora_kernel, model_inputs
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.policy import rollout
from worker.rlhf.policy.policy_watch import PolicyWatch
from worker.rlhf.policy.rollout import Forward
from worker.rlhf.reward.ranking_loss import Terms, batch_metrics, loss_of, split_by_length


@dataclass(frozen=True, slots=True)
class DpoConfig:
    """Settings of DPO; `beta` is the penalty on moving away from the reference."""

    beta: float = 0.1
    epochs: int = 1
    batch_rankings: int = 16
    max_steps: int | None = None  # also shortens the learning-rate schedule
    learning_rate: float = 1e-4
    smoothing: float = 0.0
    grad_clip: float = 1.0
    max_tokens: int = 2048
    token_budget: int = 2048
    seed: int = 0
    autocast: bool | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)

    def __post_init__(self) -> None:
        """Refuse settings that no run can use.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        config_checks.require_positive(
            self, "beta", "epochs", "batch_rankings", "learning_rate", "grad_clip"
        )
        config_checks.require_positive(self, "max_tokens", "token_budget")
        config_checks.require_within(self, 0.0, 0.5, "smoothing")
        if self.max_steps is not None:
            config_checks.require_positive(self, "max_steps")

    def to_json(self) -> dict[str, object]:
        """Return the settings as plain values for the manifest."""
        return asdict(self)

    @property
    def forward(self) -> Forward:
        """How roles are evaluated on tokens."""
        return Forward(1.0, self.autocast, self.token_budget)


def prepare(roles: Roles, config: DpoConfig) -> None:
    """Add the policy, as a copy of the SFT adapter if there is one."""
    roles.add_policy(config.lora, seed=config.seed)
    lora_kernel.install(roles.causal)


def train(
    roles: Roles,
    ranked_prompts: Sequence[RankedPrompt],
    config: DpoConfig,
    state: TrainingState,
    watch: PolicyWatch | None = None,
) -> Iterator[StepReport]:
    """Train the prepared policy on ranked prompts and yield a report per step.

    With a watch, the policy is evaluated on held-out prompts at intervals: rules may end the run,
    and with the last report the model has the best weights by held-out reward minus `beta` times
    KL.

    Raises:
        ValueError: if no prompt has a judged pair and fits within `max_tokens`.
    """
    paired = [ranked for ranked in ranked_prompts if ranked.pairs]
    kept, too_long = split_by_length(paired, config.max_tokens)
    if not kept:
        raise ValueError(
            f"none of {len(ranked_prompts)} ranked prompts has judgments and fits within "
            f"{config.max_tokens} tokens"
        )
    run = DpoRun(roles, kept, config, state)
    if watch is not None:
        watch.evaluate_start(config.beta)
    while state.step < run.steps and "stop_reason" not in state.values:
        metrics = run.step() | {"data/too_long": float(len(too_long))}
        if watch is not None:
            yield watch.report(metrics, config.beta, steps_total=run.steps)
        else:
            reason = f"steps: all {run.steps} done" if state.step == run.steps else None
            yield StepReport(state.step, run.steps, metrics, stop_reason=reason)


class DpoRun:
    """One run: the optimizer and the order of the data."""

    def __init__(
        self,
        roles: Roles,
        ranked_prompts: Sequence[RankedPrompt],
        config: DpoConfig,
        state: TrainingState,
    ) -> None:
        self.roles, self.ranked_prompts = roles, ranked_prompts
        self.config, self.state = config, state
        self.parameters = roles.parameters_of("policy")
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=0.0, fused=True
        )
        state.register(roles.named_parameters_of("policy"), {"policy": self.optimizer})
        self.order = EpochBatches(len(ranked_prompts), config.batch_rankings, config.seed)
        self.steps = self.order.steps(config.epochs, config.max_steps)

    def step(self) -> dict[str, float]:
        """Take one optimizer step and return its metrics."""
        started = time.perf_counter()
        rate = self.config.learning_rate * schedule.linear(self.state.step, self.steps)
        batch = [self.ranked_prompts[index] for index in self.order.batch(self.state.step)]
        metrics = accumulate(self.roles, batch, self.config)
        metrics["grad_norm"] = float(optimization.clip(self.parameters, self.config.grad_clip))
        optimization.advance(self.optimizer, rate)
        self.state.step += 1
        return metrics | {
            "learning_rate": rate,
            "time/train_s": time.perf_counter() - started,
        }


def accumulate(roles: Roles, batch: Sequence[RankedPrompt], config: DpoConfig) -> dict[str, float]:
    """Accumulate the gradients of a batch over its micro-batches, and return its metrics."""
    terms = Terms(with_margin=False, smoothing=config.smoothing, centering=0.0)
    tokens = [
        sum(len(ranked.prompt_ids) + len(ids) for ids in ranked.completions) for ranked in batch
    ]
    share = roles.team.share(tokens)

    def idle() -> list[int]:
        return [tokens.index(min(tokens))]

    def backward() -> tuple[list[Tensor], list[tuple[int, Tensor]]]:
        sums: list[Tensor] = []
        rewards_by_row: list[tuple[int, Tensor]] = []  # with the row of the prompt in the batch
        budget = roles.room.of(config.token_budget)
        own = batches.by_tokens([tokens[row] for row in share], budget)
        groups = [[share[index] for index in group] for group in own]
        for rows, weight in roles.team.in_step(groups, idle):
            micro_batch = [batch[row] for row in rows]
            with roles.role("policy"):
                rewards = implicit_rewards(roles, micro_batch, config)
                loss = weight * loss_of(rewards, micro_batch, terms).sum() / len(batch)
                torch.autograd.backward(loss)
            if weight:
                sums.append(loss.detach())
                rewards_by_row += zip(rows, [r.detach() for r in rewards], strict=True)
        return sums, rewards_by_row

    sums, rewards_by_row = roles.room.taking(
        backward, tokens=config.token_budget, forget=roles.parameters_of("policy")
    )
    roles.team.sum_gradients(roles.parameters_of("policy"))
    total = sum(device_reads.read(sums))
    on_host = device_reads.on_host(rewards_by_row)
    return batch_metrics(batch, roles.team.gather(on_host), loss=roles.team.sum(total))


def implicit_rewards(
    roles: Roles, ranked_prompts: Sequence[RankedPrompt], config: DpoConfig
) -> tuple[Tensor, ...]:
    """Return β times the log-ratio to the reference of each prompt's completions, [K] each."""
    sequences = [sequence for ranked in ranked_prompts for sequence in ranked.sequences]
    batch = model_inputs.padded(roles, sequences).to(roles.device)
    owner = batch.is_response.nonzero()[:, 0]  # N
    with torch.no_grad():
        reference, _ = rollout.token_logprobs(roles, "reference", batch, config.forward)
    policy, _ = rollout.token_logprobs(roles, "policy", batch, config.forward)
    log_ratios = torch.zeros(len(sequences), device=policy.device)
    rewards = config.beta * log_ratios.index_add(0, owner, policy - reference)
    return torch.split(rewards, [len(ranked.completions) for ranked in ranked_prompts])

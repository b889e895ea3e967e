"""Supervised fine-tuning: imitate demonstrations; the loss is on responses only.

Rows are packed: several demonstrations share a row without seeing one another, which gives the
loss of separate rows without their padding.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from worker.rlhf.core import batches, checks, logprobs, schedule
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.examples import Demonstration
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, SFT, LoraSettings, Roles


@dataclass(frozen=True, slots=True)
class SftConfig:
    """How to imitate.

    `full` trains all weights, otherwise the adapter named `adapter`. `max_steps` ends a run early
    and also shortens the learning-rate schedule. `autocast` None is bf16 where the processor has
    it.
    """

    epochs: int = 3
    batch_size: int = 64  # demonstrations of an optimiser step
    learning_rate: float = 2e-4  # about ten times as much for an adapter as for all weights
    warmup_share: float = 0.05
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    max_steps: int | None = None
    full: bool = False
    adapter: str = SFT
    lora: LoraSettings = field(default_factory=LoraSettings)
    seed: int = 0
    autocast: bool | None = None
    packing: bool = True
    row_tokens: int = 128  # width of a packed row
    micro_tokens: int = 8192  # tokens of a forward pass

    def __post_init__(self) -> None:
        """Refuse settings that no run can use.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        checks.positive(self, "epochs", "batch_size", "learning_rate", "grad_clip")
        checks.positive(self, "row_tokens", "micro_tokens")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if not 0.0 <= self.warmup_share < 1.0:
            raise ValueError(f"warmup_share must lie in [0, 1), got {self.warmup_share}")

    def to_json(self) -> dict[str, object]:
        """Return the settings as plain values, for a manifest."""
        return asdict(self)


def train(
    model: Roles | LoadedModel,
    demonstrations: Sequence[Demonstration],
    config: SftConfig,
    state: TrainingState,
) -> Iterator[StepReport]:
    """Yield a report per optimiser step; the weights after the last are the result.

    The loss of a step is the mean negative log-probability of its response tokens, so that it does
    not depend on how demonstrations are spread over rows and forward passes.

    Raises:
        ValueError: if there is nothing to learn from or a demonstration is longer than the context.
    """
    roles = model if isinstance(model, Roles) else Roles(model)
    run = Run(roles, demonstrations, config, state)
    while state.step < run.steps:
        metrics = run.step()
        reason = "steps" if state.step == run.steps else None
        yield StepReport(state.step, run.steps, metrics, stop_reason=reason)


class Run:
    """One run: what is trained, its optimiser, and the order of the data.

    Raises:
        ValueError: if there is nothing to learn from or a demonstration is longer than the context.
    """

    def __init__(
        self,
        roles: Roles,
        demonstrations: Sequence[Demonstration],
        config: SftConfig,
        state: TrainingState,
    ) -> None:
        _refuse(demonstrations, roles)
        self.roles, self.demonstrations = roles, demonstrations
        self.config, self.state = config, state
        self.role, self.optimizer = begin(roles, config, state)
        self.weights = roles.named_parameters_of(self.role)
        self.order = _Order(len(demonstrations), config)

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.order.steps

    def step(self) -> dict[str, float]:
        """Take one optimiser step and return its figures."""
        started = time.perf_counter()
        rate = self.config.learning_rate * schedule.linear(
            self.state.step, self.steps, int(self.config.warmup_share * self.steps)
        )
        chosen = [self.demonstrations[index] for index in self.order.batch(self.state.step)]
        loss, tokens = accumulate(self.roles, self.role, chosen, self.config)
        norm = clip_grad_norm_(list(self.weights.values()), self.config.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        seconds = time.perf_counter() - started
        return {
            "loss": loss,
            "grad_norm": float(norm),
            "learning_rate": rate,
            "epoch": self.state.step / self.order.steps_per_epoch,
            "response_tokens": float(tokens),
            "time/step_s": seconds,
            "time/tokens_per_s": sum(map(_length, chosen)) / seconds,
        }


def begin(
    roles: Roles, config: SftConfig, state: TrainingState
) -> tuple[str, torch.optim.Optimizer]:
    """Return the role to train and its optimiser, both as a restored state left them."""
    role = _prepare(roles, config)
    weights = roles.named_parameters_of(role)
    optimizer = torch.optim.AdamW(
        weights.values(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    state.register(weights, {"sft": optimizer})
    return role, optimizer


@torch.no_grad()
def evaluate(
    roles: Roles, role: str, demonstrations: Sequence[Demonstration], config: SftConfig
) -> float:
    """Return the mean negative log-probability of the response tokens, in nats."""
    total = torch.zeros((), dtype=torch.float64)
    tokens = 0
    for batch in _micro_batches(roles, demonstrations, config):
        total += _loss_sum(roles, role, batch, config).double().cpu()
        tokens += int(batch.is_response.sum())
    return float(total) / tokens


def _prepare(roles: Roles, config: SftConfig) -> str:
    if config.full:
        if models.is_packed(roles.causal):
            raise ValueError("a model in 4 bits cannot be trained in full; train an adapter")
        for parameter in roles.parameters_of(BASE):
            parameter.requires_grad_(True)
        return BASE
    if not roles.has_adapter(config.adapter):
        roles.add_adapter(config.adapter, config.lora, seed=config.seed)
    return config.adapter


def accumulate(
    roles: Roles, role: str, demonstrations: Sequence[Demonstration], config: SftConfig
) -> tuple[float, int]:
    """Add up the gradients of a batch; return its loss and how many tokens that is about."""
    tokens = sum(len(demonstration.response_ids) for demonstration in demonstrations)
    total = 0.0
    share = roles.team.share([_length(demonstration) for demonstration in demonstrations])
    for batch in _micro_batches(roles, [demonstrations[index] for index in share], config):
        with roles.role(role):
            loss = _loss_sum(roles, role, batch, config) / tokens
            loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    roles.team.sum_gradients(roles.parameters_of(role))
    return roles.team.sum(total), tokens


def _loss_sum(roles: Roles, role: str, batch: Batch, config: SftConfig) -> Tensor:
    batch = batch.to(roles.device)
    with roles.role(role), models.autocast(config.autocast, roles.device):
        hidden = roles.hidden(
            batch.input_ids, batch.attention_mask, batch.position_ids, batch.is_before_response
        )
        found, _ = logprobs.of_tokens(hidden, roles.logits, batch.targets)
    return -found.sum()


def _micro_batches(
    roles: Roles, demonstrations: Sequence[Demonstration], config: SftConfig
) -> Iterator[Batch]:
    if not demonstrations:  # the share of a process in a small batch
        return
    sequences = [(d.prompt_ids, d.response_ids) for d in demonstrations]
    if config.packing and batches.takes_any_mask(roles.causal):
        packed = batches.pack(sequences, roles.pad_id, config.row_tokens)
        yield from batches.split_rows(packed, config.micro_tokens)
    else:
        yield from batches.padded_by_tokens(sequences, roles.pad_id, config.micro_tokens)


@dataclass(frozen=True, slots=True)
class _Order:
    """Which demonstrations each step sees: each once an epoch, in an order the seed fixes."""

    count: int
    config: SftConfig

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.count // self.config.batch_size)

    @property
    def steps(self) -> int:
        planned = self.steps_per_epoch * self.config.epochs
        return planned if self.config.max_steps is None else min(planned, self.config.max_steps)

    def batch(self, step: int) -> list[int]:
        epoch, within = divmod(step, self.steps_per_epoch)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        order: list[int] = torch.randperm(self.count, generator=generator).tolist()
        start = within * self.config.batch_size
        return order[start : start + self.config.batch_size]


def _length(demonstration: Demonstration) -> int:
    return len(demonstration.prompt_ids) + len(demonstration.response_ids)


def _refuse(demonstrations: Sequence[Demonstration], roles: Roles) -> None:
    if not demonstrations:
        raise ValueError("there is no demonstration to learn from")
    limit = models.context_tokens(roles.causal)
    for index, demonstration in enumerate(demonstrations):
        if limit is not None and _length(demonstration) > limit:
            raise ValueError(
                f"demonstration {index} has {_length(demonstration)} tokens, "
                f"the model's context {limit}"
            )

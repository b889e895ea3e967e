"""Supervised fine-tuning: maximize the likelihood of the responses in demonstrations.

The loss covers response tokens only. Rows are packed (see `packing`) where the model allows it:
several demonstrations share a row without attending to one another, which gives the loss of
separate rows without their padding.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from worker.rlhf.core import config_checks, device_reads, logprobs, optimization, schedule
from worker.rlhf.core.batches import Batch
from worker.rlhf.core.epoch_order import EpochBatches
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.layout_probe import LayoutProbe
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import model_inputs, models
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, SFT, LoraSettings, Roles
from worker.rlhf.sft import packing


@dataclass(frozen=True, slots=True)
class SftConfig:
    """Settings of supervised fine-tuning.

    `full` trains all weights, otherwise the adapter named `adapter`. `max_steps` ends a run early
    and also shortens the learning-rate schedule. `autocast` None uses bf16 where it is
    the faster precision.
    """

    epochs: int = 3
    batch_size: int = 64  # demonstrations per optimizer step
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
    micro_tokens: int = 8192  # tokens per forward pass

    def __post_init__(self) -> None:
        """Refuse settings that no run can use.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        config_checks.require_positive(self, "epochs", "batch_size", "learning_rate", "grad_clip")
        config_checks.require_positive(self, "row_tokens", "micro_tokens")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if not 0.0 <= self.warmup_share < 1.0:
            raise ValueError(f"warmup_share must lie in [0, 1), got {self.warmup_share}")

    def to_json(self) -> dict[str, object]:
        """Return the settings as plain values for the manifest."""
        return asdict(self)


def train(
    model: Roles | LoadedModel,
    demonstrations: Sequence[TokenizedDemonstration],
    config: SftConfig,
    state: TrainingState,
    rows: LayoutProbe | None = None,
) -> Iterator[StepReport]:
    """Yield a report per optimizer step; the weights after the last one are the result.

    The loss of a step is the mean negative log-probability of its response tokens, so it does not
    depend on how demonstrations are distributed over rows and forward passes.

    Raises:
        ValueError: if there is no demonstration or one is longer than the model's context.
    """
    roles = model if isinstance(model, Roles) else Roles(model)
    run = SftRun(roles, demonstrations, config, state, rows)
    while state.step < run.steps:
        metrics = run.step()
        reason = f"steps: all {run.steps} done" if state.step == run.steps else None
        yield StepReport(state.step, run.steps, metrics, stop_reason=reason)


class SftRun:
    """One run: the trained role, its optimizer, and the order of the data.

    Raises:
        ValueError: if there is no demonstration or one is longer than the model's context.
    """

    def __init__(
        self,
        roles: Roles,
        demonstrations: Sequence[TokenizedDemonstration],
        config: SftConfig,
        state: TrainingState,
        rows: LayoutProbe | None = None,
    ) -> None:
        if not demonstrations:
            raise ValueError("there is no demonstration to learn from")
        packing.refuse_beyond_context(demonstrations, roles)
        self.roles, self.demonstrations = roles, demonstrations
        self.config, self.state = config, state
        self.role, self.optimizer = begin(roles, config, state)
        self.rows = rows or rows_of(roles, config)
        self.weights = roles.named_parameters_of(self.role)
        self.order = EpochBatches(len(demonstrations), config.batch_size, config.seed)
        self.steps = self.order.steps(config.epochs, config.max_steps)

    def step(self) -> dict[str, float]:
        """Take one optimizer step and return its metrics."""
        started = time.perf_counter()
        rate = self.config.learning_rate * schedule.linear(
            self.state.step, self.steps, int(self.config.warmup_share * self.steps)
        )
        batch = [self.demonstrations[index] for index in self.order.batch(self.state.step)]
        loss, response_tokens = accumulate(self.roles, self.role, batch, self.config, self.rows)
        norm = optimization.clip(self.weights.values(), self.config.grad_clip)
        optimization.advance(self.optimizer, rate)
        self.state.step += 1
        seconds = time.perf_counter() - started
        return {
            "loss": loss,
            "grad_norm": float(norm),
            "learning_rate": rate,
            "epoch": self.state.step / self.order.steps_per_epoch,
            "response_tokens": float(response_tokens),
            "data/packed": float(self.rows.allows_tokens(max(map(packing.tokens_of, batch)))),
            "time/step_s": seconds,
            "time/tokens_per_s": sum(map(packing.tokens_of, batch)) / seconds,
        }


def begin(
    roles: Roles, config: SftConfig, state: TrainingState
) -> tuple[str, torch.optim.Optimizer]:
    """Return the role to train and its optimizer, both as in the restored state, if any."""
    role = _prepare(roles, config)
    weights = roles.named_parameters_of(role)
    optimizer = torch.optim.AdamW(
        weights.values(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    state.register(weights, {"sft": optimizer})
    return role, optimizer


def rows_of(roles: Roles, config: SftConfig) -> LayoutProbe:
    """Return whether demonstrations may share rows on this model, and why."""
    return packing.probe(roles) if config.packing else packing.NOT_PACKED


@torch.no_grad()
def evaluate(
    roles: Roles,
    role: str,
    demonstrations: Sequence[TokenizedDemonstration],
    config: SftConfig,
    rows: LayoutProbe | None = None,
) -> float:
    """Return the mean negative log-probability of the response tokens, in nats.

    `rows` is the result of `rows_of`; None probes the model anew.
    """

    def sums() -> list[Tensor]:
        groups = _micro_batches(roles, demonstrations, config, rows)
        return [_loss_sum(roles, role, batch, config) for batch in groups]

    total = sum(device_reads.read(roles.room.taking(sums, tokens=config.micro_tokens)))
    return total / sum(len(demonstration.response_ids) for demonstration in demonstrations)


def accumulate(
    roles: Roles,
    role: str,
    demonstrations: Sequence[TokenizedDemonstration],
    config: SftConfig,
    rows: LayoutProbe | None = None,
) -> tuple[float, int]:
    """Accumulate the gradients of a batch; return its loss and its number of response tokens.

    `rows` is the result of `rows_of`; None probes the model anew.
    """
    tokens = sum(len(demonstration.response_ids) for demonstration in demonstrations)
    share = roles.team.share([packing.tokens_of(example) for example in demonstrations])
    own = [demonstrations[index] for index in share]

    def idle() -> Batch:
        shortest = min(demonstrations, key=packing.tokens_of)
        return next(_micro_batches(roles, [shortest], config, rows))

    def backward() -> list[Tensor]:
        sums: list[Tensor] = []
        batches = list(_micro_batches(roles, own, config, rows)) if own else []
        for batch, weight in roles.team.in_step(batches, idle):
            with roles.role(role):
                loss = weight * _loss_sum(roles, role, batch, config) / tokens
                torch.autograd.backward(loss)
            sums.append(loss.detach())
        return sums

    sums = roles.room.taking(backward, tokens=config.micro_tokens, forget=roles.parameters_of(role))
    roles.team.sum_gradients(roles.parameters_of(role))
    return roles.team.sum(sum(device_reads.read(sums))), tokens


def _prepare(roles: Roles, config: SftConfig) -> str:
    if config.full:
        if models.is_quantized(roles.causal):
            raise ValueError("a model in 4 bits cannot be trained in full; train an adapter")
        for parameter in roles.parameters_of(BASE):
            parameter.requires_grad_(True)
        return BASE
    if not roles.has_adapter(config.adapter):
        roles.add_adapter(config.adapter, config.lora, seed=config.seed)
    return config.adapter


def _micro_batches(
    roles: Roles,
    demonstrations: Sequence[TokenizedDemonstration],
    config: SftConfig,
    rows: LayoutProbe | None,
) -> Iterator[Batch]:
    return packing.micro_batches(
        roles,
        demonstrations,
        rows or rows_of(roles, config),
        row_tokens=config.row_tokens,
        micro_tokens=roles.room.of(config.micro_tokens),
    )


def _loss_sum(roles: Roles, role: str, batch: Batch, config: SftConfig) -> Tensor:
    batch = batch.to(roles.device)
    with roles.role(role), models.autocast(config.autocast, roles.device):
        hidden = model_inputs.before_response(roles, batch)
        token_logprobs, _ = logprobs.of_tokens(hidden, roles.lm_head(), batch.targets)
    return -token_logprobs.sum()

"""Direct preference optimisation: a policy from rankings, without a reward model or sampling.

DPO of Rafailov et al. 2023 (arXiv 2305.18290, equation 7), with soft targets from vote shares,
label smoothing (Mitchell 2023, "cDPO") and weights. Each completion is run once and serves all its
pairs.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from worker.rlhf.core import batches, checks, schedule
from worker.rlhf.core.examples import Ranking
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import lora_kernel
from worker.rlhf.model.roles import SFT, LoraSettings, Roles
from worker.rlhf.policy import rollout
from worker.rlhf.policy.policy_watch import Watch
from worker.rlhf.policy.rollout import Forward
from worker.rlhf.reward.ranking_loss import Terms, agreement_of, loss_of, split_by_length


@dataclass(frozen=True, slots=True)
class DpoConfig:
    """How the policy is trained; `beta` is the price of moving away from the reference."""

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
        checks.positive(self, "beta", "epochs", "batch_rankings", "learning_rate", "grad_clip")
        checks.positive(self, "max_tokens", "token_budget")
        checks.within(self, 0.0, 0.5, "smoothing")
        if self.max_steps is not None:
            checks.positive(self, "max_steps")

    def to_json(self) -> dict[str, object]:
        """Return what the manifest keeps."""
        return asdict(self)

    @property
    def forward(self) -> Forward:
        """How roles are run over tokens."""
        return Forward(1.0, self.autocast, self.token_budget)


def prepare(roles: Roles, config: DpoConfig) -> None:
    """Add the policy, started from the SFT adapter if there is one."""
    source = SFT if roles.has_adapter(SFT) else None
    roles.add_adapter("policy", config.lora, init_from=source, seed=config.seed)
    lora_kernel.install(roles.causal)


def train(
    roles: Roles,
    rankings: Sequence[Ranking],
    config: DpoConfig,
    state: TrainingState,
    watch: Watch | None = None,
) -> Iterator[StepReport]:
    """Train the prepared policy on the rankings, and yield every step.

    With a watch the policy's own answers are looked at now and then: rules may end the run, and the
    best weights by the held-out reward minus `beta` times the KL are in the model when the last
    report comes.

    Raises:
        ValueError: if no ranking has a judged pair and fits within `max_tokens`.

    """
    kept, too_long = split_by_length([each for each in rankings if each.pairs], config.max_tokens)
    if not kept:
        raise ValueError(
            f"none of {len(rankings)} rankings is judged and within {config.max_tokens} tokens"
        )
    run = Run(roles, kept, config, state)
    if watch is not None:
        watch.look_at_the_start(config.beta)
    while state.step < run.steps and "stop_reason" not in state.values:
        metrics = run.step() | {"data/too_long": float(len(too_long))}
        if watch is not None:
            yield watch.report(metrics, config.beta, steps_total=run.steps)
        else:
            reason = f"steps: all {run.steps} done" if state.step == run.steps else None
            yield StepReport(state.step, run.steps, metrics, stop_reason=reason)


class Run:
    """One run: the optimiser and the order of the data."""

    def __init__(
        self, roles: Roles, rankings: Sequence[Ranking], config: DpoConfig, state: TrainingState
    ) -> None:
        self.roles, self.rankings, self.config, self.state = roles, rankings, config, state
        self.parameters = roles.parameters_of("policy")
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=0.0, fused=True
        )
        state.register(roles.named_parameters_of("policy"), {"policy": self.optimizer})
        self.steps_per_epoch = math.ceil(len(rankings) / config.batch_rankings)
        self.steps = self.steps_per_epoch * config.epochs
        if config.max_steps is not None:
            self.steps = min(self.steps, config.max_steps)

    def step(self) -> dict[str, float]:
        """Take one optimiser step and return its figures."""
        started = time.perf_counter()
        rate = self.config.learning_rate * schedule.linear(self.state.step, self.steps)
        batch = _batch(self.rankings, self.config, self.state.step, self.steps_per_epoch)
        metrics = accumulate(self.roles, batch, self.config)
        metrics["grad_norm"] = float(clip_grad_norm_(self.parameters, self.config.grad_clip))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        return metrics | {
            "learning_rate": rate,
            "time/train_s": time.perf_counter() - started,
        }


def accumulate(roles: Roles, batch: Sequence[Ranking], config: DpoConfig) -> dict[str, float]:
    """Add up the gradients of a batch, micro-batch by micro-batch, and say how it did."""
    total, found = 0.0, list[tuple[int, Tensor]]()  # rewards by the ranking's place in the batch
    terms = Terms(with_margin=False, smoothing=config.smoothing, centering=0.0)
    tokens = [
        sum(len(ranking.prompt_ids) + len(ids) for ids in ranking.completions) for ranking in batch
    ]
    share = roles.team.share(tokens)
    mine = batches.by_tokens([tokens[index] for index in share], config.token_budget)
    for group in ([share[index] for index in each] for each in mine):
        here = [batch[index] for index in group]
        with roles.role("policy"):
            rewards = implicit_rewards(roles, here, config)
            loss = loss_of(rewards, here, terms).sum() / len(batch)
            torch.autograd.backward(loss)
        total += float(loss.detach())
        found += zip(group, [each.detach().cpu() for each in rewards], strict=True)
    roles.team.sum_gradients(roles.parameters_of("policy"))
    found = roles.team.gather(found)
    fit = agreement_of([each for _, each in found], [batch[index] for index, _ in found])
    flat = torch.cat([each for _, each in found])
    return {
        "loss": roles.team.sum(total),
        "accuracy": fit.accuracy,
        "margin": fit.margin,
        "reward/mean": float(flat.mean()),
        "reward/std": float(flat.std(correction=0)),
    }


def implicit_rewards(
    roles: Roles, rankings: Sequence[Ranking], config: DpoConfig
) -> tuple[Tensor, ...]:
    """Return β times the log-ratio to the reference of each ranking's completions, [K] each."""
    sequences = [(each.prompt_ids, ids) for each in rankings for ids in each.completions]
    batch = batches.pad(sequences, roles.pad_id).to(roles.device)
    owner = batch.is_response.nonzero()[:, 0]  # N
    with torch.no_grad():
        reference, _ = rollout.token_logprobs(roles, "reference", batch, config.forward)
    policy, _ = rollout.token_logprobs(roles, "policy", batch, config.forward)
    moved = torch.zeros(len(sequences), device=policy.device)
    moved = config.beta * moved.index_add(0, owner, policy - reference)
    return torch.split(moved, [len(each.completions) for each in rankings])


def _batch(
    rankings: Sequence[Ranking], config: DpoConfig, step: int, per_epoch: int
) -> list[Ranking]:
    """Return the batch of a step, each ranking once an epoch, by seed and step alone."""
    epoch, position = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    order = torch.randperm(len(rankings), generator=generator).tolist()
    start = position * config.batch_rankings
    return [rankings[index] for index in order[start : start + config.batch_rankings]]

"""Training of reward models from ranked prompts: one adapter with its head, or an ensemble.

One training example is a prompt with its K completions, in one row where the model allows it. See
`reward_report` for held-out reports, `normalizer` for scales and `scoring` for scores.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import cast

import torch
from torch import Tensor

from worker.rlhf.core import config_checks, device_reads, optimization, schedule
from worker.rlhf.core.epoch_order import EpochBatches
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import lora_kernel
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.reward import criterion_heads, scoring, shared_prefix
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.normalizer import Normalizer, Scale
from worker.rlhf.reward.ranking_loss import (
    RankingFit,
    Terms,
    batch_metrics,
    branches_of,
    fit_of,
    loss_of,
    split_by_length,
)

HEAD_SEED = 7919
MEMBER_STRIDE = 1009
"""Distance between the seeds of two runs; members of an ensemble are numbered below it."""


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """Settings of reward-model training.

    The learning rate rises over `warmup_share` of the steps, and then falls linearly to 0.
    `patience` is the number of held-out evaluations without improvement after which training stops;
    0 trains to the end. `token_budget` bounds the tokens per forward pass and affects nothing else.
    With `criteria`, rated completions are learned from their ratings and not also from the pairs
    that these imply. `max_steps` ends the run early.
    """

    members: int = 1
    epochs: int = 1
    max_steps: int | None = None
    batch_rankings: int = 16
    learning_rate: float = 1e-3
    warmup_share: float = 0.0
    terms: Terms = field(default_factory=Terms)
    grad_clip: float = 1.0
    evaluate_every: int = 5
    patience: int = 4
    max_tokens: int = 2048
    token_budget: int = scoring.TOKEN_BUDGET
    seed: int = 0
    autocast: bool | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)
    criteria: Criteria = ()

    def __post_init__(self) -> None:
        """Refuse settings that no run can use.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        config_checks.require_positive(
            self, "members", "epochs", "batch_rankings", "learning_rate", "grad_clip"
        )
        config_checks.require_positive(self, "evaluate_every", "max_tokens", "token_budget")
        config_checks.require_within(self, 0, math.inf, "patience")
        config_checks.require_within(self, 0.0, 1.0, "warmup_share")
        if self.max_steps is not None:
            config_checks.require_positive(self, "max_steps")

    def to_json(self) -> dict[str, object]:
        """Return the settings as plain values for the manifest."""
        return asdict(self)


def names(members: int) -> tuple[str, ...]:
    """Return the adapter names of a reward model or an ensemble."""
    return ("reward", *(f"reward-{n}" for n in range(1, members)))


def prepare(roles: Roles, config: RewardConfig) -> tuple[str, ...]:
    """Add the adapters and heads to train, each with its own seed, and return their names."""
    for number, name in enumerate(names(config.members)):
        roles.add_adapter(name, config.lora, seed=config.seed + number)
        roles.add_head(name, seed=config.seed + HEAD_SEED * (number + 1))
        seed = config.seed + HEAD_SEED * (number + 1) + 1
        criterion_heads.add_heads(roles, name, config.criteria, seed=seed)
    lora_kernel.install(roles.causal)
    return names(config.members)


def train(
    roles: Roles,
    ranked_prompts: Sequence[RankedPrompt],
    heldout: Sequence[RankedPrompt],
    config: RewardConfig,
    state: TrainingState,
) -> Iterator[StepReport]:
    """Train the prepared adapters, each in its own order of the data, and yield a report per step.

    The loss on held-out prompts, which are never trained on, decides when to stop and which weights
    are best; these are in the model with the last report.

    Raises:
        ValueError: if no prompt has judgments and fits within `max_tokens`.
    """
    kept, too_long = split_by_length(ranked_prompts, config.max_tokens)
    kept_heldout, _ = split_by_length(heldout, config.max_tokens)
    if not kept:
        raise ValueError(
            f"none of {len(ranked_prompts)} ranked prompts has judgments and fits within "
            f"{config.max_tokens} tokens"
        )
    run = RewardRun(roles, kept, kept_heldout, config, state)
    while "stop_reason" not in state.values:
        started = time.perf_counter()
        metrics = run.step()
        metrics["data/too_long"] = float(len(too_long))
        metrics["time/train_s"] = time.perf_counter() - started
        yield run.report(metrics)


class RewardRun:
    """One run: the optimizer, the order of the data and the held-out evaluation."""

    def __init__(
        self,
        roles: Roles,
        ranked_prompts: Sequence[RankedPrompt],
        heldout: Sequence[RankedPrompt],
        config: RewardConfig,
        state: TrainingState,
    ) -> None:
        self.roles, self.ranked_prompts, self.heldout = roles, ranked_prompts, heldout
        self.config, self.state = config, state
        self.probe = scoring.probe(roles)
        self.names = names(config.members)
        self.orders = tuple(
            EpochBatches(
                len(ranked_prompts), config.batch_rankings, config.seed * MEMBER_STRIDE + member
            )
            for member in range(config.members)
        )
        every_step = self.orders[0].steps(config.epochs)
        self.steps = min(every_step, config.max_steps or every_step)
        groups = [{"params": list(self.trained(name).values())} for name in self.names]
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=0.0, fused=True
        )
        self.weights: dict[str, torch.nn.Parameter] = {}
        for name in self.names:
            self.weights |= roles.named_parameters_of(name) | self.trained(name)
        state.register(self.weights, {"reward": self.optimizer})

    def trained(self, name: str) -> dict[str, torch.nn.Parameter]:
        """Return a member's trained parameters: its adapter, and its head or criterion heads."""
        parameters = self.roles.named_parameters_of(name)
        if self.config.criteria:
            heads = criterion_heads.heads_of(self.roles, name, self.config.criteria)
            parameters = {key: p for key, p in parameters.items() if p.requires_grad} | heads
        return parameters

    def step(self) -> dict[str, float]:
        """Take one optimizer step of every member on its own batch; return the mean metrics."""
        rise = int(self.config.warmup_share * self.steps)
        rate = self.config.learning_rate * schedule.linear(self.state.step, self.steps, rise)
        means: dict[str, float] = {}
        for member, name in enumerate(self.names):
            for key, value in self.accumulate(name, self.batch(member)).items():
                means[key] = means.get(key, 0.0) + value / len(self.names)
            norm = optimization.clip(self.trained(name).values(), self.config.grad_clip)
            means["grad_norm"] = means.get("grad_norm", 0.0) + float(norm) / len(self.names)
        optimization.advance(self.optimizer, rate)
        if self.config.criteria:
            for name in self.names:
                criterion_heads.combine(self.roles, name, self.config.criteria)
        self.state.step += 1
        epoch = self.state.step / self.orders[0].steps_per_epoch
        return means | {"learning_rate": rate, "epoch": epoch}

    def report(self, metrics: dict[str, float]) -> StepReport:
        """Evaluate on the held-out prompts if due, decide whether to stop, and report."""
        is_last = self.state.step == self.steps
        reason = f"steps: all {self.steps} done" if is_last else None
        if self.heldout and (is_last or self.state.step % self.config.evaluate_every == 0):
            started = time.perf_counter()
            fit = self.evaluate()
            self._keep_best(fit)
            metrics |= {
                "heldout/loss": fit.loss,
                "heldout/accuracy": fit.accuracy,
                "heldout/margin": fit.margin,
                "time/evaluate_s": time.perf_counter() - started,
            }
            reason = reason or self._early_stop_reason()
        if reason is not None:
            self.state.values["stop_reason"] = reason
            self.state.load_best()
        return StepReport(self.state.step, self.steps, metrics, stop_reason=reason)

    def accumulate(self, name: str, batch: Sequence[RankedPrompt]) -> dict[str, float]:
        """Accumulate the gradients of a member's batch over its micro-batches; return metrics."""
        branches = [branches_of(ranked) for ranked in batch]
        share = self.roles.team.share([branch.tokens for branch in branches])
        own_branches = [branches[row] for row in share]

        def idle() -> list[int]:
            return [min(range(len(branches)), key=lambda row: branches[row].tokens)]

        def backward() -> tuple[list[Tensor], list[tuple[int, Tensor]]]:
            sums: list[Tensor] = []
            scores_by_row: list[tuple[int, Tensor]] = []  # with the row of the prompt in the batch
            own = scoring.micro_batches(own_branches, self._budget)
            groups = [[share[index] for index in group] for group in own]
            for rows, weight in self.roles.team.in_step(groups, idle):
                layout = shared_prefix.lay_out(
                    [branches[row] for row in rows], self.probe, pad_id=self.roles.pad_id
                )
                with self.roles.role(name):
                    scores, losses = self._losses(name, layout, [batch[row] for row in rows])
                    loss = weight * losses.sum() / len(batch)
                    torch.autograd.backward(loss)
                if weight:
                    sums.append(loss.detach())
                    scores_by_row += zip(rows, [s.detach() for s in scores], strict=True)
            return sums, scores_by_row

        sums, scores_by_row = self.roles.room.taking(
            backward, tokens=self.config.token_budget, forget=self.trained(name).values()
        )
        team = self.roles.team
        team.sum_gradients(self.trained(name).values())
        total = sum(device_reads.read(sums))
        on_host = device_reads.on_host(scores_by_row)
        return batch_metrics(batch, team.gather(on_host), loss=team.sum(total))

    def _losses(
        self, name: str, layout: shared_prefix.Layout, ranked_prompts: Sequence[RankedPrompt]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the scores of each prompt's completions, and the loss of each prompt."""
        config = self.config
        states = scoring.states_of(self.roles, name, layout, autocast=config.autocast)
        counts = [len(ranked.completions) for ranked in ranked_prompts]
        if not config.criteria:
            scores = torch.split(self.roles.score(name, states), counts)
            return scores, loss_of(scores, ranked_prompts, config.terms)
        predicted = criterion_heads.predict(self.roles, name, config.criteria, states)
        scores = torch.split(criterion_heads.reward_of(predicted, config.criteria), counts)
        rating_losses = criterion_heads.loss_of(predicted, ranked_prompts, config.criteria)
        unrated = [_without_implied_pairs(ranked) for ranked in ranked_prompts]
        return scores, rating_losses + loss_of(scores, unrated, config.terms)

    @property
    def _budget(self) -> int:
        return self.roles.room.of(self.config.token_budget)

    def batch(self, member: int) -> list[RankedPrompt]:
        """Return the batch of this step in the member's own order."""
        return [self.ranked_prompts[index] for index in self.orders[member].batch(self.state.step)]

    def heldout_scores(self) -> tuple[Tensor, ...]:
        """Return the members' mean scores of each held-out prompt's completions, [K] each."""
        reward = scoring.AdapterReward(
            self.roles,
            self.names,
            self.probe,
            Normalizer((Scale(),) * len(self.names)),
            autocast=self.config.autocast,
            token_budget=self.config.token_budget,
        )
        branches = [branches_of(ranked) for ranked in self.heldout]
        scores = self.roles.room.taking(
            lambda: scoring.raw_together(reward, branches), tokens=self.config.token_budget
        ).mean(0)
        return torch.split(scores, [len(ranked.completions) for ranked in self.heldout])

    def evaluate(self) -> RankingFit:
        """Return the fit on the held-out prompts; with criteria, the loss is that of ratings."""
        fit = fit_of(self.heldout_scores(), self.heldout)
        return replace(fit, loss=self._rating_loss()) if self.config.criteria else fit

    def _keep_best(self, fit: RankingFit) -> None:
        """Keep the weights if their loss is the lowest yet, and count evaluations since then."""
        age = self.state.values.get("looks_since_best", 0)
        is_best = self.state.keep_best(-fit.loss)
        self.state.values["looks_since_best"] = 0 if is_best else int(cast(int, age)) + 1

    @torch.no_grad()
    def _rating_loss(self) -> float:
        """Return the members' mean loss on the held-out prompts, ratings included."""
        total = 0.0
        branches = [branches_of(ranked) for ranked in self.heldout]
        for group in scoring.micro_batches(branches, self._budget):
            layout = shared_prefix.lay_out(
                [branches[index] for index in group], self.probe, pad_id=self.roles.pad_id
            )
            for name in self.names:
                _, losses = self._losses(name, layout, [self.heldout[index] for index in group])
                total += float(losses.sum())
        return total / len(self.names) / len(self.heldout)

    def _early_stop_reason(self) -> str | None:
        age, best = self.state.values["looks_since_best"], self.state.best
        if not self.config.patience or age != self.config.patience or best is None:
            return None
        return f"early stop: held-out loss {-best.value:.3f} at step {best.step} was the best"


def _without_implied_pairs(ranked: RankedPrompt) -> RankedPrompt:
    is_rated = any(feedback.ratings for feedback in ranked.absolutes)
    return replace(ranked, pairs=()) if is_rated else ranked

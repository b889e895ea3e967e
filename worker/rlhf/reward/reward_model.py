"""Training of reward models from rankings: one adapter with its head, or an ensemble of them.

One element is a prompt with its K completions, in one row where the model allows it. Reports on
held-out rankings are `reward_report`'s, scales `normaliser`'s, and scores of answers `scoring`'s.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import cast

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from worker.rlhf.core import checks, schedule
from worker.rlhf.core.examples import Ranking
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import lora_kernel
from worker.rlhf.model.roles import LoraSettings, Roles
from worker.rlhf.reward import criterion_heads, scoring, shared_prefix
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.normaliser import Normaliser, Scale
from worker.rlhf.reward.ranking_loss import (
    Agreement,
    Terms,
    agreement_of,
    branches_of,
    loss_of,
    split_by_length,
)

HEAD_SEED = 7919


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """How reward models are trained.

    `learning_rate` is that of the adapters, falling to 0 linearly. `patience` counts evaluations on
    the held-out rankings that were no better; 0 trains to the end. `token_budget` bounds the tokens
    of one forward and changes nothing else. Where there are `criteria`, rated completions are
    learned by their ratings and not also by the pairs that these imply.
    """

    members: int = 1
    epochs: int = 1
    batch_rankings: int = 16
    learning_rate: float = 1e-3
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
        checks.positive(self, "members", "epochs", "batch_rankings", "learning_rate", "grad_clip")
        checks.positive(self, "evaluate_every", "max_tokens", "token_budget")
        checks.within(self, 0, math.inf, "patience")

    def to_json(self) -> dict[str, object]:
        """Return what the manifest keeps."""
        return asdict(self)


def names(members: int) -> tuple[str, ...]:
    """Return the names of the adapters of a reward model or an ensemble of them."""
    return ("reward", *(f"reward-{n}" for n in range(1, members)))


def prepare(roles: Roles, config: RewardConfig) -> tuple[str, ...]:
    """Add the adapters and heads to be trained, each from its own seed, and return their names."""
    for number, name in enumerate(names(config.members)):
        roles.add_adapter(name, config.lora, seed=config.seed + number)
        roles.add_head(name, seed=config.seed + HEAD_SEED * (number + 1))
        seed = config.seed + HEAD_SEED * (number + 1) + 1
        criterion_heads.add_heads(roles, name, config.criteria, seed=seed)
    lora_kernel.install(roles.causal)
    return names(config.members)


def train(
    roles: Roles,
    rankings: Sequence[Ranking],
    heldout: Sequence[Ranking],
    config: RewardConfig,
    state: TrainingState,
) -> Iterator[StepReport]:
    """Train the prepared adapters, each in its own order of the data, and yield every step.

    Held-out rankings say when to stop and which weights were the best; these are in the model when
    the last report comes. They are never trained on.

    Raises:
        ValueError: if no ranking has a judged pair and fits within `max_tokens`.

    """
    kept, too_long = split_by_length(rankings, config.max_tokens)
    watched, _ = split_by_length(heldout, config.max_tokens)
    if not kept:
        raise ValueError(
            f"none of {len(rankings)} rankings is judged and within {config.max_tokens} tokens"
        )
    run = Run(roles, kept, watched, config, state)
    while "stop_reason" not in state.values:
        started = time.perf_counter()
        metrics = run.step()
        metrics["data/too_long"] = float(len(too_long))
        metrics["time/train_s"] = time.perf_counter() - started
        yield run.report(metrics)


class Run:
    """One run: the optimiser, the order of the data and the look at held-out rankings."""

    def __init__(
        self,
        roles: Roles,
        rankings: Sequence[Ranking],
        heldout: Sequence[Ranking],
        config: RewardConfig,
        state: TrainingState,
    ) -> None:
        self.roles, self.rankings, self.heldout = roles, rankings, heldout
        self.config, self.state = config, state
        self.probe = scoring.probe(roles)
        self.names = names(config.members)
        self.steps_per_epoch = math.ceil(len(rankings) / config.batch_rankings)
        self.steps = self.steps_per_epoch * config.epochs
        groups = [{"params": list(self.trained(name).values())} for name in self.names]
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=0.0, fused=True
        )
        weights: dict[str, torch.nn.Parameter] = {}
        for name in self.names:
            weights |= roles.named_parameters_of(name) | self.trained(name)
        state.register(weights, {"reward": self.optimizer})

    def trained(self, name: str) -> dict[str, torch.nn.Parameter]:
        """Return what a member's gradients change: its adapter, and its head or its criteria's."""
        found = self.roles.named_parameters_of(name)
        if self.config.criteria:
            heads = criterion_heads.heads_of(self.roles, name, self.config.criteria)
            found = {key: p for key, p in found.items() if p.requires_grad} | heads
        return found

    def step(self) -> dict[str, float]:
        """Take one optimiser step of every member on its own batch."""
        rate = self.config.learning_rate * schedule.linear(self.state.step, self.steps)
        found: dict[str, float] = {}
        for member, name in enumerate(self.names):
            for key, value in self.accumulate(name, self.batch(member)).items():
                found[key] = found.get(key, 0.0) + value / len(self.names)
            norm = clip_grad_norm_(list(self.trained(name).values()), self.config.grad_clip)
            found["grad_norm"] = found.get("grad_norm", 0.0) + float(norm) / len(self.names)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.config.criteria:
            for name in self.names:
                criterion_heads.combine(self.roles, name, self.config.criteria)
        self.state.step += 1
        return found | {"learning_rate": rate, "epoch": self.state.step / self.steps_per_epoch}

    def report(self, metrics: dict[str, float]) -> StepReport:
        """Look at the held-out rankings where it is time, decide whether to stop, and report."""
        is_last = self.state.step == self.steps
        reason = f"steps: all {self.steps} done" if is_last else None
        if self.heldout and (is_last or self.state.step % self.config.evaluate_every == 0):
            started = time.perf_counter()
            fit = self._look()
            metrics |= {
                "heldout/loss": fit.loss,
                "heldout/accuracy": fit.accuracy,
                "heldout/margin": fit.margin,
                "time/evaluate_s": time.perf_counter() - started,
            }
            reason = reason or self._early_stop()
        if reason is not None:
            self.state.values["stop_reason"] = reason
            self.state.load_best()
        return StepReport(self.state.step, self.steps, metrics, stop_reason=reason)

    def accumulate(self, name: str, batch: Sequence[Ranking]) -> dict[str, float]:
        """Add up the gradients of a member's batch, micro-batch by micro-batch."""
        total = 0.0
        found: list[tuple[int, Tensor]] = []  # of every ranking by its place in the batch
        branches = [branches_of(ranking) for ranking in batch]
        share = self.roles.team.share([each.tokens for each in branches])
        mine = scoring.micro_batches([branches[index] for index in share], self.config.token_budget)
        for group in ([share[index] for index in each] for each in mine):
            here = [batch[index] for index in group]
            layout = shared_prefix.lay_out(
                [branches[index] for index in group], self.probe, pad_id=self.roles.pad_id
            )
            with self.roles.role(name):
                scores, each = self._losses(name, layout, here)
                loss = each.sum() / len(batch)
                torch.autograd.backward(loss)
            total += float(loss.detach())
            found += zip(group, [each.detach().cpu() for each in scores], strict=True)
        self.roles.team.sum_gradients(self.trained(name).values())
        found = self.roles.team.gather(found)
        fit = agreement_of([each for _, each in found], [batch[index] for index, _ in found])
        flat = torch.cat([each for _, each in found])
        return {
            "loss": self.roles.team.sum(total),
            "accuracy": fit.accuracy,
            "margin": fit.margin,
            "reward/mean": float(flat.mean()),
            "reward/std": float(flat.std(correction=0)),
        }

    def _losses(
        self, name: str, layout: shared_prefix.Layout, here: Sequence[Ranking]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the scores of each ranking's completions, and the loss of each ranking."""
        states = scoring.states_of(self.roles, name, layout, autocast=self.config.autocast)
        counts = [len(ranking.completions) for ranking in here]
        if not self.config.criteria:
            scores = torch.split(self.roles.score(name, states), counts)
            return scores, loss_of(scores, here, self.config.terms)
        predicted = criterion_heads.predict(self.roles, name, self.config.criteria, states)
        scores = torch.split(criterion_heads.reward_of(predicted, self.config.criteria), counts)
        learned = [_without_implied_pairs(ranking) for ranking in here]
        of_ratings = criterion_heads.loss_of(predicted, here, self.config.criteria)
        return scores, of_ratings + loss_of(scores, learned, self.config.terms)

    def batch(self, member: int) -> list[Ranking]:
        """Return the batch of this step in the member's own order, by seed and step alone."""
        epoch, position = divmod(self.state.step, self.steps_per_epoch)
        seed = (self.config.seed * 1009 + member) * 1_000_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.rankings), generator=generator).tolist()
        start = position * self.config.batch_rankings
        return [self.rankings[index] for index in order[start : start + self.config.batch_rankings]]

    def _look(self) -> Agreement:
        """Score the held-out rankings with the members' mean, and keep the weights if best."""
        reward = scoring.AdapterReward(
            self.roles,
            self.names,
            self.probe,
            Normaliser((Scale(),) * len(self.names)),
            autocast=self.config.autocast,
            token_budget=self.config.token_budget,
        )
        flat = scoring.raw_together(reward, [branches_of(each) for each in self.heldout]).mean(0)
        counts = [len(ranking.completions) for ranking in self.heldout]
        fit = agreement_of(torch.split(flat, counts), self.heldout)
        if self.config.criteria:
            fit = replace(fit, loss=self._rating_loss())
        age = self.state.values.get("looks_since_best", 0)
        is_best = self.state.keep_best(-fit.loss)
        self.state.values["looks_since_best"] = 0 if is_best else int(cast(int, age)) + 1
        return fit

    @torch.no_grad()
    def _rating_loss(self) -> float:
        """Return the members' mean loss on the held-out rankings, where these carry ratings."""
        total = 0.0
        branches = [branches_of(ranking) for ranking in self.heldout]
        for group in scoring.micro_batches(branches, self.config.token_budget):
            layout = shared_prefix.lay_out(
                [branches[index] for index in group], self.probe, pad_id=self.roles.pad_id
            )
            for name in self.names:
                _, each = self._losses(name, layout, [self.heldout[index] for index in group])
                total += float(each.sum())
        return total / len(self.names) / len(self.heldout)

    def _early_stop(self) -> str | None:
        age, best = self.state.values["looks_since_best"], self.state.best
        if not self.config.patience or age != self.config.patience or best is None:
            return None
        return f"early stop: held-out loss {-best.value:.3f} at step {best.step} was the best"


def _without_implied_pairs(ranking: Ranking) -> Ranking:
    is_rated = any(each.ratings for each in ranking.absolutes)
    return replace(ranking, pairs=()) if is_rated else ranking

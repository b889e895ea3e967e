"""Training of reward models from rankings: one adapter with its head, or an ensemble of them.

One element is a prompt with its K completions, in one row where the model allows it. Reports on
held-out rankings are `reward_report`'s, scales `normaliser`'s, and scores of answers `scoring`'s.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from worker.rlhf import losses, prefix, schedule, scoring
from worker.rlhf.data import Pair, Ranking
from worker.rlhf.normaliser import Normaliser, Scale
from worker.rlhf.prefix import Branches
from worker.rlhf.report import StepReport
from worker.rlhf.roles import LoraSettings, Roles
from worker.rlhf.training_state import TrainingState

HEAD_SEED = 7919


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """How reward models are trained.

    `learning_rate` is that of the adapters, falling to 0 linearly. `smoothing` is the chance that a
    judgment is wrong, `centering` the weight of (r₁ + r₂)². `patience` counts evaluations on the
    held-out rankings that were no better; 0 trains to the end. `token_budget` bounds the tokens of
    one forward and changes nothing else.
    """

    members: int = 1
    epochs: int = 1
    batch_rankings: int = 16
    learning_rate: float = 1e-3
    loss: Literal["pairs", "plackett_luce"] = "pairs"
    with_margin: bool = True
    smoothing: float = 0.0
    centering: float = 0.01
    grad_clip: float = 1.0
    evaluate_every: int = 5
    patience: int = 4
    max_tokens: int = 2048
    token_budget: int = scoring.TOKEN_BUDGET
    seed: int = 0
    autocast: bool | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)

    def to_json(self) -> dict[str, object]:
        """Return what the manifest keeps."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TooLong:
    """A ranking that was left out, and why."""

    key: str
    completion: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Fit:
    """How scores agree with the judgments of some rankings."""

    loss: float
    accuracy: float
    margin: float


def names(members: int) -> tuple[str, ...]:
    """Return the names of the adapters of a reward model or an ensemble of them."""
    return ("reward", *(f"reward-{n}" for n in range(1, members)))


def prepare(roles: Roles, config: RewardConfig) -> tuple[str, ...]:
    """Add the adapters and heads to be trained, each from its own seed, and return their names."""
    for number, name in enumerate(names(config.members)):
        roles.add_adapter(name, config.lora, seed=config.seed + number)
        roles.add_head(name, seed=config.seed + HEAD_SEED * (number + 1))
    return names(config.members)


def split_by_length(
    rankings: Sequence[Ranking], max_tokens: int
) -> tuple[list[Ranking], list[TooLong]]:
    """Part the judged rankings that fit from those with a completion that does not, naming it."""
    kept: list[Ranking] = []
    too_long: list[TooLong] = []
    for ranking in rankings:
        if not ranking.pairs:
            continue
        lengths = [len(ranking.prompt_ids) + len(ids) for ids in ranking.completions]
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        if lengths[longest] <= max_tokens:
            kept.append(ranking)
        else:
            too_long.append(TooLong(ranking.key, longest, lengths[longest]))
    return kept, too_long


def branches_of(ranking: Ranking) -> Branches:
    """Return a ranking's prompt and completions as a row to be."""
    return Branches(ranking.prompt_ids, ranking.completions)


def ranking_loss(
    scores: Sequence[Tensor], rankings: Sequence[Ranking], config: RewardConfig
) -> Tensor:
    """Return the loss of each ranking, [B]: the mean over its pairs, each times its weight.

    Dividing by the number of pairs makes prompts, and not pairs, weigh equally (InstructGPT, arXiv
    2203.02155, section 3.5).

    Args:
        scores: Scores [K] of each ranking's completions, fp32.
        rankings: The judged pairs of each.
        config: Which loss and with which terms.

    """
    each = []
    for mine, ranking in zip(scores, rankings, strict=True):
        pairs = ranking.pairs
        first, second = _sides(mine, pairs)
        weight = torch.tensor([pair.weight for pair in pairs], device=mine.device)
        term = config.centering * losses.centering(first, second)
        if config.loss == "pairs":
            share = torch.tensor([pair.share for pair in pairs], device=mine.device)
            margin = torch.tensor([pair.margin for pair in pairs], device=mine.device)
            margin = margin if config.with_margin else torch.zeros_like(margin)
            term = term + losses.preference(
                first, second, share, margin=margin, smoothing=config.smoothing
            )
        total = (weight * term).mean()
        if config.loss == "plackett_luce":
            ranks = ranks_of(ranking).to(mine.device)
            everyone = torch.ones_like(ranks, dtype=torch.bool)
            total = total + losses.plackett_luce(mine[None], ranks[None], everyone[None])[0]
        each.append(total)
    return torch.stack(each)


def ranks_of(ranking: Ranking) -> Tensor:
    """Return each completion's rank by the share of judgments it won, 0 best, equal for ties."""
    won = torch.zeros(len(ranking.completions), dtype=torch.float64)
    judged = torch.zeros_like(won)
    for pair in ranking.pairs:
        won[pair.first] += pair.share * pair.weight
        won[pair.second] += (1.0 - pair.share) * pair.weight
        judged[[pair.first, pair.second]] += pair.weight
    rate = (won / judged.clamp(min=1e-12)).round(decimals=9)
    return (rate[None, :] > rate[:, None]).sum(1)


@torch.no_grad()
def fit_of(scores: Sequence[Tensor], rankings: Sequence[Ranking]) -> Fit:
    """Return loss, accuracy and margin of scores over all judged pairs; ties judge no accuracy."""
    deltas, shares = [], []
    for mine, ranking in zip(scores, rankings, strict=True):
        first, second = _sides(mine.cpu(), ranking.pairs)
        deltas.append(first - second)
        shares.append(torch.tensor([pair.share for pair in ranking.pairs]))
    delta, share = torch.cat(deltas), torch.cat(shares)
    loss = losses.preference(delta, torch.zeros_like(delta), share).mean()
    decided = share != 0.5
    sided = torch.where(share > 0.5, delta, -delta)[decided]
    right = (sided > 0).float() + 0.5 * (sided == 0).float()
    return Fit(float(loss), float(right.mean()), float(sided.mean()))


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
    run = _Run(roles, kept, watched, config, state)
    while "stop_reason" not in state.values:
        started = time.perf_counter()
        metrics = run.step()
        metrics["data/too_long"] = float(len(too_long))
        metrics["time/train_s"] = time.perf_counter() - started
        yield run.report(metrics)


class _Run:
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
        groups = [{"params": roles.parameters_of(name)} for name in self.names]
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=0.0, fused=True
        )
        weights: dict[str, torch.nn.Parameter] = {}
        for name in self.names:
            weights |= roles.named_parameters_of(name)
        state.register(weights, {"reward": self.optimizer})

    def step(self) -> dict[str, float]:
        """Take one optimiser step of every member on its own batch."""
        rate = self.config.learning_rate * schedule.linear(self.state.step, self.steps)
        found: dict[str, float] = {}
        for member, name in enumerate(self.names):
            for key, value in self._accumulate(name, self._batch(member)).items():
                found[key] = found.get(key, 0.0) + value / len(self.names)
            norm = clip_grad_norm_(self.roles.parameters_of(name), self.config.grad_clip)
            found["grad_norm"] = found.get("grad_norm", 0.0) + float(norm) / len(self.names)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
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

    def _accumulate(self, name: str, batch: Sequence[Ranking]) -> dict[str, float]:
        """Add up the gradients of a member's batch, micro-batch by micro-batch."""
        total = 0.0
        all_scores: list[Tensor] = []
        seen: list[Ranking] = []
        branches = [branches_of(ranking) for ranking in batch]
        for group in scoring.micro_batches(branches, self.config.token_budget):
            here = [batch[index] for index in group]
            layout = prefix.lay_out(
                [branches[index] for index in group], self.probe, pad_id=self.roles.pad_id
            )
            with self.roles.role(name):
                flat = scoring.score_layout(self.roles, name, layout, autocast=self.config.autocast)
                scores = torch.split(flat, [len(ranking.completions) for ranking in here])
                loss = ranking_loss(scores, here, self.config).sum() / len(batch)
                torch.autograd.backward(loss)
            total += float(loss.detach())
            all_scores += [each.detach() for each in scores]
            seen += here
        fit, flat = fit_of(all_scores, seen), torch.cat(all_scores)
        return {
            "loss": total,
            "accuracy": fit.accuracy,
            "margin": fit.margin,
            "reward/mean": float(flat.mean()),
            "reward/std": float(flat.std(correction=0)),
        }

    def _batch(self, member: int) -> list[Ranking]:
        """Return the batch of this step in the member's own order, by seed and step alone."""
        epoch, position = divmod(self.state.step, self.steps_per_epoch)
        seed = (self.config.seed * 1009 + member) * 1_000_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.rankings), generator=generator).tolist()
        start = position * self.config.batch_rankings
        return [self.rankings[index] for index in order[start : start + self.config.batch_rankings]]

    def _look(self) -> Fit:
        """Score the held-out rankings with the members' mean, and keep the weights if best."""
        reward = scoring.AdapterReward(
            self.roles,
            self.names,
            self.probe,
            Normaliser((Scale(),) * len(self.names)),
            autocast=self.config.autocast,
            token_budget=self.config.token_budget,
        )
        flat = reward.raw([branches_of(ranking) for ranking in self.heldout]).mean(0)
        counts = [len(ranking.completions) for ranking in self.heldout]
        fit = fit_of(torch.split(flat, counts), self.heldout)
        age = self.state.values.get("looks_since_best", 0)
        is_best = self.state.keep_best(-fit.loss)
        self.state.values["looks_since_best"] = 0 if is_best else int(cast(int, age)) + 1
        return fit

    def _early_stop(self) -> str | None:
        age, best = self.state.values["looks_since_best"], self.state.best
        if not self.config.patience or age != self.config.patience or best is None:
            return None
        return f"early stop: held-out loss {-best.value:.3f} at step {best.step} was the best"


def _sides(scores: Tensor, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Return the scores of the first and of the second of each pair."""
    return scores[[pair.first for pair in pairs]], scores[[pair.second for pair in pairs]]

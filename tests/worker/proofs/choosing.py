"""Measures whether choosing comparisons saves labels, against simulated labelers of a known taste.

    python -m tests.worker.proofs.choosing --model FOLDER [--seeds N …] [--lora]

Reward models fitted to a few random comparisons score a pool. Each rule chooses what is asked next,
at most one comparison of a prompt; a reward model is fitted to both and held against the truth. Two
policies write two completions each: the demo's grammar, and the same with more right answers. The
reward model is a linear head on the frozen SFT model in FOLDER; with `--lora` it is an adapter and
head as in rounds, which takes four times as long, for one rule. A line of JSON for each seed, and
in the end the gains over random comparisons. Seeds share the SFT model; prompts, completions,
labelers and fits are theirs.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional

from app.demo import grammar, panel, project, taste, truth
from app.demo.grammar import AnswerMix
from app.demo.plan import DemoPlan
from app.demo.truth import ScoredComparison
from app.domain import choosing, jackknife
from app.domain.choosing import ChoiceRule
from app.domain.judgment_kinds import JudgmentKind
from app.domain.measures import Interval
from app.domain.plan import RoundPlan
from app.simulation.labelers import ComparisonView, ShownCompletion
from worker.rlhf.core.examples import PreferencePair, RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models, template
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import reward_model, scoring
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches
from worker.training import reward as reward_recipe
from worker.training import token_ids

POLICIES = (AnswerMix(), AnswerMix(right=0.7, wrong=0.1, offer=0.5, evasion=0.15))
EACH = 2  # completions of each policy in a comparison
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything, in comparisons; `counts` are those that models are compared at."""

    first: int = 100
    counts: tuple[int, ...] = (160, 220, 280, 400)
    pool: int = 800
    members: int = 8
    test: int = 200
    watched: int = 60
    rules: tuple[ChoiceRule, ...] = tuple(
        rule for rule in ChoiceRule if rule is not ChoiceRule.RANDOM
    )


LORA = Sizes(counts=(280, 400), members=1, watched=30, rules=(ChoiceRule.UNCERTAINTY,))


@dataclass(frozen=True, slots=True)
class Row:
    """A comparison: a prompt, its completions, and the share of votes for each pair's first."""

    prompt: str
    texts: tuple[str, ...]
    ranked: RankedPrompt


Scorer = Callable[[Sequence[Row]], list[Tensor]]
"""Returns the scores of each comparison's completions by M reward models, [M, K]."""


class Head:
    """Fits linear heads on the frozen model's states: at the response's end, and their mean."""

    def __init__(self, roles: Roles, rows: Sequence[Row], watched: Sequence[Row]) -> None:
        found = [_states(roles, row.ranked) for row in rows]
        stacked = torch.cat(found)
        mean, std = stacked.mean(0), stacked.std(0) + 1e-6
        self.states = {
            row.ranked.key: (states - mean) / std for row, states in zip(rows, found, strict=True)
        }
        self.watched = watched

    def fit(self, rows: Sequence[Row], members: int, seed: int) -> Scorer:
        """Fit one head to all rows, or several, each to as many drawn with replacement."""
        chance = random.Random(seed)
        drawn = (
            [rows] if members == 1 else [chance.choices(rows, k=len(rows)) for _ in range(members)]
        )
        heads = torch.stack([self._best(own) for own in drawn])
        return lambda asked: [heads @ self.states[row.ranked.key].T for row in asked]

    def _best(self, rows: Sequence[Row]) -> Tensor:
        """Return the head with the ridge penalty that fits the watched comparisons best."""
        gaps, shares = self._pairs(self.watched)
        heads = [self._head(rows, ridge) for ridge in RIDGES]
        return min(heads, key=lambda head: float(_loss(gaps @ head, shares)))

    def _head(self, rows: Sequence[Row], ridge: float) -> Tensor:
        gaps, shares = self._pairs(rows)
        head = torch.zeros(gaps.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS([head], max_iter=60, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = _loss(gaps @ head, shares) + 0.5 * ridge * head.square().sum()
            torch.autograd.backward(loss)
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return head.detach()

    def _pairs(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        gaps, shares = [], []
        for row in rows:
            states = self.states[row.ranked.key]
            for pair in row.ranked.pairs:
                gaps.append(states[pair.first] - states[pair.second])
                shares.append(pair.share)
        return torch.stack(gaps), torch.tensor(shares)


class Adapter:
    """Fits adapters and heads as rounds do, with the demo's settings."""

    def __init__(self, folder: Path, plan: RoundPlan, watched: Sequence[Row]) -> None:
        self.folder, self.plan, self.watched = folder, plan, watched

    def fit(self, rows: Sequence[Row], members: int, seed: int) -> Scorer:
        """Fit one reward model or an ensemble on a base of its own."""
        plan = replace(self.plan, seed=seed, reward=replace(self.plan.reward, ensemble=members))
        roles = Roles(models.load(self.folder))
        config = reward_recipe.config_of(plan, len(rows))
        names = reward_model.prepare(roles, config)
        train, watched = ([row.ranked for row in some] for some in (rows, self.watched))
        for _ in reward_model.train(roles, train, watched, config, TrainingState()):
            pass
        fitted = AdapterReward(roles, names, scoring.probe(roles))

        def score(asked: Sequence[Row]) -> list[Tensor]:
            branches = [Branches(row.ranked.prompt_ids, row.ranked.completions) for row in asked]
            return list(torch.split(fitted.raw(branches), [len(row.texts) for row in asked], dim=1))

        return score


@dataclass(frozen=True, slots=True)
class Study:
    """One seed: its pool, in random order, and what fits and measures its reward models."""

    seed: int
    sizes: Sizes
    pool: Sequence[Row]
    test: Sequence[Row]
    learner: Head | Adapter

    def figures(self) -> dict[str, float]:
        """Return the accuracy of every choice at every number of comparisons."""
        orders = {ChoiceRule.RANDOM: list(self.pool)} | self.orders()
        return {
            f"{rule} {count}": self.accuracy(order[:count])
            for rule, order in orders.items()
            for count in self.sizes.counts
        }

    def orders(self) -> dict[ChoiceRule, list[Row]]:
        """Return the pool in each rule's order, behind the comparisons that were drawn first."""
        first, rest = list(self.pool[: self.sizes.first]), self.pool[self.sizes.first :]
        scores = self.learner.fit(first, self.sizes.members, self.seed)(rest)
        sources = [number for number in range(len(POLICIES)) for _ in range(EACH)]
        orders: dict[ChoiceRule, list[Row]] = {}
        for rule in self.sizes.rules:
            worths = [choosing.worth(rule, own.tolist(), sources) for own in scores]
            orders[rule] = first + [rest[place] for place in choosing.order(worths)]
        return orders

    def accuracy(self, rows: Sequence[Row]) -> float:
        """Return the accuracy on the truth of a model fitted to judged comparisons."""
        shuffled = random.Random(self.seed).sample(list(rows), len(rows))
        scores = self.learner.fit(shuffled, 1, self.seed)(self.test)
        scored = [
            ScoredComparison(row.prompt, row.texts, tuple(own.mean(0).tolist()))
            for row, own in zip(self.test, scores, strict=True)
        ]
        measure = truth.reward(scored, taste.DEFAULT.utility, longer_wins=True).accuracy
        assert isinstance(measure.value, float)
        return measure.value


def make(seed: int, sizes: Sizes, folder: Path, *, lora: bool) -> Study:
    """Write completions, let the panel judge them, and prepare the reward models."""
    roles = Roles(models.load(folder))
    demo = DemoPlan()
    labelers = panel.make(demo, taste.DEFAULT.name, seed)
    asked = grammar.prompts(sizes.pool + sizes.test + sizes.watched, seed)
    chance = random.Random(f"policies {seed}")
    rows = []
    for number, question in enumerate(asked):
        texts = tuple(
            grammar.answer(question, mix, chance) for mix in POLICIES for _ in range(EACH)
        )
        shown = tuple(ShownCompletion(key, text) for key, text in enumerate(texts))
        view = ComparisonView(
            f"{number}", question.text, shown, JudgmentKind.RANK, allows_ties=True
        )
        turn = [labelers[(number + k) % len(labelers)] for k in range(demo.overlap)]
        groups = [labeler.judge(view).groups for labeler in turn]
        rows.append(_row(roles, number, question.text, texts, groups))
    pool, test = rows[: sizes.pool], rows[sizes.pool : sizes.pool + sizes.test]
    watched = rows[sizes.pool + sizes.test :]
    plan = RoundPlan.from_json(demo.round_plan(seed))
    learner = Adapter(folder, plan, watched) if lora else Head(roles, rows, watched)
    return Study(seed, sizes, pool, test, learner)


def _row(
    roles: Roles,
    number: int,
    prompt: str,
    texts: tuple[str, ...],
    groups: Sequence[Sequence[Sequence[int]]],
) -> Row:
    pairs = tuple(
        PreferencePair(a, b, fmean(_share(order, a, b) for order in groups))
        for a, b in combinations(range(len(texts)), 2)
    )
    ids = token_ids.prompt_ids(
        roles.loaded, [{"role": "user", "content": prompt}], project.INSTRUCTION
    )
    responses = tuple(
        tuple(template.encode_response(roles.loaded, text, finished=True)) for text in texts
    )
    return Row(prompt, texts, RankedPrompt(f"{number}", ids, responses, pairs))


def _share(order: Sequence[Sequence[int]], first: int, second: int) -> float:
    places = {key: place for place, group in enumerate(order) for key in group}
    gap = places[second] - places[first]
    return 0.5 if not gap else float(gap > 0)


@torch.no_grad()
def _states(roles: Roles, ranked: RankedPrompt) -> Tensor:
    """Return each completion's state at its end and the mean of its states, [K, 2d]."""
    rows = [[*ranked.prompt_ids, *own] for own in ranked.completions]
    width, start = max(map(len, rows)), len(ranked.prompt_ids)
    ids = torch.tensor([row + [roles.pad_id] * (width - len(row)) for row in rows])
    is_real = torch.tensor([[n < len(row) for n in range(width)] for row in rows])
    states = roles.hidden(ids, is_real.long(), (is_real.long().cumsum(1) - 1).clamp(min=0)).float()
    return torch.stack(
        [
            torch.cat([own[len(row) - 1], own[start : len(row)].mean(0)])
            for own, row in zip(states, rows, strict=True)
        ]
    )


def _loss(gaps: Tensor, shares: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(gaps, shares)


def main(arguments: Sequence[str], sizes: Sizes | None = None) -> int:
    """Measure on every seed and say so."""
    parser = argparse.ArgumentParser(prog="choosing", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--model", type=Path, required=True, help="the SFT model's folder")
    parser.add_argument("--lora", action="store_true", help="adapters instead of heads; slow")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sizes = sizes or (LORA if given.lora else Sizes())
    found = []
    for seed in given.seeds:
        began = time.process_time()
        found.append(make(seed, sizes, given.model, lora=given.lora).figures())
        rounded = {name: round(value, 4) for name, value in found[-1].items()}
        _say(
            json.dumps({"seed": seed, "processor_s": round(time.process_time() - began)} | rounded)
        )
    _compare(found, sizes)
    return 0


def _compare(found: Sequence[dict[str, float]], sizes: Sizes) -> None:
    """Say each rule's gain over as many random comparisons, and over the largest number."""
    chosen, full = sizes.counts[-2:]
    for rule in sizes.rules:
        for count in (chosen, full):
            gain = jackknife.mean(
                [one[f"{rule} {chosen}"] - one[f"random {count}"] for one in found]
            )
            span = gain.interval
            text = f"[{span.low:+.3f}, {span.high:+.3f}]" if isinstance(span, Interval) else ""
            _say(f"{rule} {chosen} minus random {count}: {gain.value:+.3f} {text}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Records a policy that is optimized too far, and replays stop rules on the record.

    python -m tests.worker.proofs.overdone [--seeds N …] [--members N] [--every N]
        [--shelf FOLDER] [--threads N]

A rule only reads the history of a run, so one recorded run tells what any rule would have done. A
recorded run takes some 5 minutes of one core.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from app.demo import taste
from app.domain import kl_worth
from app.domain.plan import PolicyPlan, RoundPlan
from tests.worker.proofs.course import Course, Look, practise
from tests.worker.proofs.desk import Desk, Sizes, use_threads
from tests.worker.proofs.shelf import Shelf
from worker.rlhf.policy import stopping
from worker.rlhf.policy.stopping import Observation, Rule, Stop
from worker.rlhf.reward.scoring import AdapterReward, Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.training import policy as policy_recipe

MEMBERS, EVERY = 2, 4


@dataclass(slots=True)
class Recorder:
    """A reward that keeps the mean score of each member on every batch, on the SFT scale."""

    inner: AdapterReward
    seen: list[list[list[float]]] = field(default_factory=list)  # batch, member, completion

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the reward's scores, and keep those of its members."""
        raw = self.inner.raw(branches)
        members = self.inner.normalizer.members
        each = torch.stack([scale(row) for scale, row in zip(members, raw, strict=True)])
        self.seen.append(each.tolist())
        bound, spread = self.inner.normalizer.lower_bound(raw)
        return Scores(raw.mean(0), bound, spread)


def plan_of(desk: Desk, members: int = MEMBERS, every: int = EVERY) -> RoundPlan:
    """Return the plan of a run without a price of KL at twice the learning rate."""
    plan = desk.plan
    return replace(
        plan,
        reward=replace(plan.reward, ensemble=members),
        policy=replace(
            plan.policy,
            max_steps=desk.sizes.overdone_steps,
            learning_rate=1e-3,
            kl_coefficient=0.0,
            kl_budget=None,
            evaluate_every=every,
        ),
    )


def policy_of(desk: Desk) -> PolicyPlan:
    """Return the first run's plan of the policy, its KL budget lowered as a job does."""
    policy = desk.plan.policy
    seen = {kl_worth.RECORDED: desk.sizes.few_labels * (desk.demo.k - 1)}
    return replace(policy, kl_budget=kl_worth.budget(policy, seen))


@dataclass(frozen=True, slots=True)
class Record:
    """A run whose alarms are off, and the reward model it was trained on."""

    looks: tuple[Look, ...]
    members: tuple[tuple[tuple[float, ...], ...], ...]  # look, member, prompt: scaled scores
    history: tuple[Observation, ...]
    accuracy: float  # of the reward model on held-out votes
    rules: tuple[Rule, ...]  # those of a job
    gate: str  # why a round would wait instead of training on it; empty: it would not

    @property
    def peak(self) -> Look:
        """The look with the highest true utility."""
        return max(self.looks, key=lambda look: look.utility)


@dataclass(frozen=True, slots=True)
class Replay:
    """What rules would have made of a recorded run."""

    stop: Stop
    step: int  # of the stop
    kept: Look


def record(course: Course, members: int = MEMBERS, every: int = EVERY) -> Record:
    """Train a policy on a reward model of few labels to the end, without a price of KL."""
    desk, plan = course.desk, plan_of(course.desk, members, every)
    asked = desk.prompts().rounds[0][: desk.sizes.few_labels]
    rows = desk.judged(course.answers(None, asked, n=desk.demo.k, seed=4), "pool")
    fitted = course.reward(rows, plan)
    origin = [fitted.folder.name, plan.policy, plan.sampling, plan.seed, desk.sizes.looks]

    def make(folder: Path) -> None:
        roles = desk.roles()
        recorder = Recorder(fitted.function(roles, 0.0))
        run = practise(desk, roles, recorder, fitted.normaliser, plan, alarms=False)
        members = _looks(recorder.seen, {one.step for one in run.points}, run.steps)
        kept = {"points": run.points, "members": members, "history": run.history}
        (folder / "record.json").write_text(json.dumps(kept), encoding="utf-8")

    path = course.shelf.made("overdone", origin, make) / "record.json"
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Record(
        tuple(Look(*one) for one in kept["points"]),
        tuple(kept["members"]),
        tuple(Observation(**one) for one in kept["history"]),
        fitted.accuracy,
        policy_recipe.stop_rules(policy_of(desk), fitted.lengths),
        fitted.gate,
    )


def replay(record: Record, rules: Sequence[Rule]) -> Replay:
    """Return where rules end a recorded run and which weights are kept, as `PolicyWatch` would."""
    looks = {look.step: look for look in record.looks}
    history = record.history
    total, kept, best = history[-1].step, looks[0], -math.inf
    for count, observation in enumerate(history, start=1):
        stop = None
        if observation.step:
            stop = stopping.check(rules, history[:count], steps_total=total)
        reward = observation.heldout_reward
        if reward is not None and reward > best and (stop is None or not stop.is_alarm):
            kept, best = looks[observation.step], reward
        if stop is not None:
            return Replay(stop, observation.step, kept)
    raise ValueError("a recorded run has no last step")


def _looks(seen: Sequence[Any], steps: set[int], last: int) -> list[Any]:
    """Return the batches that were looks: one before the first step, and one after each due."""
    found, place = [seen[0]], 1
    for step in range(1, last + 1):
        place += 1  # the step's own batch
        if step in steps:
            found.append(seen[place])
            place += 1
    return found


def main(arguments: Sequence[str], sizes: Sizes | None = None) -> int:
    """Record a run of every seed, and print its looks."""
    parser = argparse.ArgumentParser(prog="overdone", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--members", type=int, default=MEMBERS, help="of the ensemble")
    parser.add_argument("--every", type=int, default=EVERY, help="steps between looks")
    parser.add_argument("--threads", type=int, help="of this process; default all cores")
    parser.add_argument("--shelf", type=Path, default=Path(".attune/proofs"))
    given = parser.parse_args(arguments)
    use_threads(given.threads)
    for seed in given.seeds:
        desk = Desk(seed, sizes or Sizes(), given.shelf / f"sft-{seed}", taste.DEFAULT)
        if not (desk.folder / "config.json").exists():
            desk.imitate()
        found = record(Course(desk, Shelf(given.shelf)), given.members, given.every)
        _say(f"seed {seed}: accuracy {found.accuracy:.3f} on votes")
        for look, members in zip(found.looks, found.members, strict=True):
            spread = float(torch.tensor(members).std(0, correction=0).mean())
            _say(
                f"  step {look.step}: reward {look.reward:.2f}, spread {spread:.2f}, "
                f"{look.kl_nats:.1f} nats, true utility {look.utility:+.2f}"
            )
        end = replay(found, found.rules)
        _say(f"  {end.stop.reason}, at step {end.step}; kept {end.kept}; peak {found.peak}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What is claimed of the loop, as figures of one seed and the rules they must obey.

1. The reward model's accuracy against the truth rises with labels, beats length alone, and exceeds
   its accuracy against noisy votes.
2. PPO raises the true utility with KL under its budget.
3. With few labels and no price of KL the true utility peaks and falls while the reward climbs; the
   alarm fires, ends the run, and keeps weights of before.
4. After three rounds the policy beats the SFT model.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from app.demo.truth import PolicyTruth
from app.domain.measures import Interval, Measure
from app.domain.plan import RoundPlan
from tests.worker.proofs.desk import Desk, Judged, Prompts, RewardModel, Witness, longer_wins
from worker.rlhf.core.examples import SampledCompletion
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy.stopping import Observation
from worker.training import algorithms
from worker.training import policy as policy_recipe
from worker.training.algorithms import PolicyInputs

KINDS = ("labels", "overdone", "rounds")
FALL = 0.2
"""How far the true utility must come down from its peak; a batch's mean has an error of 0.1."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence with the figures in it, and whether it holds."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Point:
    """A look at held-out prompts during a policy's training."""

    step: int
    reward: float
    utility: float
    kl_nats: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A policy's training: its looks, its end, and its answers to the test prompts."""

    points: list[Point]
    steps: int  # how far it went
    stop_reason: str
    is_alarm: bool
    best_step: int
    kl_nats: float  # of the weights that stay, on held-out prompts
    answers: dict[str, list[SampledCompletion]]

    @property
    def peak(self) -> Point:
        """The look with the highest true utility."""
        return max(self.points, key=lambda one: one.utility)


def prove(desk: Desk, wanted: Sequence[str] = KINDS) -> Iterator[Claim]:
    """Make the claims of some kinds about one seed's help desk, one after the other."""
    prompts = desk.prompts()
    base, k = desk.roles(), desk.demo.k
    watched = desk.judged(desk.answers(base, prompts.watched, n=k, seed=3), "watched")
    labelled = (*prompts.rounds[0], *prompts.rounds[1])
    pool = desk.judged(desk.answers(base, labelled, n=k, seed=4), "pool")
    if "labels" in wanted:
        test = desk.judged(desk.answers(base, prompts.test, n=k, seed=2), "test")
        yield from labels(desk, pool, watched, test)
    if "overdone" in wanted:
        yield from overdone(desk, prompts, pool, watched)
    if "rounds" in wanted:
        sft = desk.answers(base, prompts.test, seed=1)
        yield from rounds(desk, prompts, watched, sft)


def labels(
    desk: Desk, pool: Sequence[Judged], watched: Sequence[Judged], test: Sequence[Judged]
) -> Iterator[Claim]:
    """Fit reward models to more and more comparisons."""
    longer = longer_wins(pool)
    counts = desk.sizes.labels
    fitted = [desk.reward_model(pool[:count], watched) for count in counts]
    found = [desk.truth_of(model, test, longer) for model in fitted]
    votes = desk.votes_of(fitted[-1], test)
    told = ", ".join(
        f"{count} comparisons {_value(one.accuracy):.3f}"
        for count, one in zip(counts, found, strict=True)
    )
    first, last = found[0], found[-1]
    yield Claim(
        f"accuracy on the truth rises with labels: {told} {_span(last.accuracy)}",
        _low(last.accuracy) > _value(first.accuracy),
    )
    yield Claim(
        f"it beats length alone ({_value(last.length_only):.3f}) by "
        f"{_value(last.minus_length_only):.3f} {_span(last.minus_length_only)}",
        _low(last.minus_length_only) > 0.0,
    )
    cap = 1.0 - desk.demo.flip_rate
    yield Claim(
        f"it is higher on the truth than on votes, of which {_value(votes):.3f} are met; "
        f"{cap:.2f} is the most",
        _value(last.accuracy) > _value(votes) and _value(votes) < cap,
    )


def rounds(
    desk: Desk,
    prompts: Prompts,
    watched: Sequence[Judged],
    sft: dict[str, list[SampledCompletion]],
) -> Iterator[Claim]:
    """Run round after round: all judgments so far, the policy started from SFT again."""
    rows: list[Judged] = []
    before: Roles | None = None
    won: PolicyTruth | None = None
    for number, asked in enumerate(prompts.rounds[: desk.sizes.rounds], start=1):
        rows += desk.judged(_candidates(desk, before, asked, number), f"round {number}")
        model = desk.reward_model(rows, watched)
        trained = practise(desk, model, prompts, desk.plan)
        before, won = model.roles, desk.won(sft, trained.answers)
        budget = desk.plan.policy.kl_budget
        assert budget is not None
        yield Claim(
            f"round {number}, {len(rows)} comparisons: true utility {_value(won.before):+.2f} → "
            f"{_value(won.after):+.2f}, change {_span(won.change)}, at {trained.kl_nats:.1f} nats "
            f"of KL (budget {budget**2:.0f}); wins {_value(won.win_rate):.3f} "
            f"{_span(won.win_rate)} against SFT; step {trained.best_step} of {trained.steps}: "
            f"{trained.stop_reason}",
            _low(won.change) > 0.0 and trained.kl_nats < budget**2,
        )
    assert won is not None
    yield Claim(
        f"after {desk.sizes.rounds} rounds the policy beats SFT: {_span(won.win_rate)}",
        _low(won.win_rate) > 0.5,
    )


def overdone(
    desk: Desk, prompts: Prompts, pool: Sequence[Judged], watched: Sequence[Judged]
) -> Iterator[Claim]:
    """Train against a reward model of few labels, first to the end, then with the alarms on."""
    plan = desk.plan
    plan = replace(
        plan,
        reward=replace(plan.reward, ensemble=2),
        policy=replace(
            plan.policy,
            max_steps=desk.sizes.overdone_steps,
            learning_rate=1e-3,
            kl_coefficient=0.0,
            evaluate_every=4,
        ),
    )
    few = pool[: desk.sizes.few_labels]
    blind = practise(desk, desk.reward_model(few, watched, plan=plan), prompts, plan, alarms=False)
    peak, end = blind.peak, blind.points[-1]
    yield Claim(
        f"{len(few)} labels, no price of KL: true utility {blind.points[0].utility:+.2f}, peak "
        f"{peak.utility:+.2f} at step {peak.step}, {end.utility:+.2f} at step {end.step}, while "
        f"the reward climbs from {peak.reward:.2f} to {end.reward:.2f}; KL {end.kl_nats:.0f} nats",
        0 < peak.step < end.step
        and peak.utility - end.utility >= FALL
        and end.reward > peak.reward,
    )
    watchful = practise(desk, desk.reward_model(few, watched, plan=plan), prompts, plan)
    kept = next(one for one in watchful.points if one.step == watchful.best_step)
    yield Claim(
        f"the alarm ends the run at step {watchful.steps} of {desk.sizes.overdone_steps} "
        f"({watchful.stop_reason}); the weights kept are of step {kept.step}, true utility "
        f"{kept.utility:+.2f}",
        watchful.is_alarm
        and watchful.steps < desk.sizes.overdone_steps
        and kept.utility > end.utility
        and kept.step < watchful.steps,
    )


def practise(
    desk: Desk, model: RewardModel, prompts: Prompts, plan: RoundPlan, *, alarms: bool = True
) -> Trained:
    """Train a policy against a reward model as a job does, and note the truth at every look."""
    roles, state = model.roles, TrainingState()
    witness = Witness(model.function, desk, roles)
    steps = plan.policy.steps(len(prompts.policy), 0).total
    own = policy_recipe.config_of(plan, roles, model.function.normalizer, steps)
    if not alarms:
        own = replace(own, watch=replace(own.watch, rules=()))
    items = [desk.items(roles, some) for some in (prompts.policy, prompts.looks)]
    given = PolicyInputs(roles, items[0], items[1], witness, [], state)
    prepared = algorithms.prepare(plan, given, own)
    truths: list[float] = []
    for report in prepared.loop:
        if "heldout/reward" in report.metrics:
            if not truths:
                truths.append(witness.seen[0][1])
            truths.append(witness.seen[-1][1])
    looks = [one for one in _history(state) if one.heldout_reward is not None]
    points = [_point(one, true) for one, true in zip(looks, truths, strict=True)]
    assert state.best is not None
    return Trained(
        points,
        state.step,
        str(state.values["stop_reason"]),
        bool(state.values["stopped_by_alarm"]),
        state.best.step,
        next(one.kl_nats for one in points if one.step == state.best.step),
        desk.answers(roles, prompts.test, role="policy", seed=1),
    )


def _candidates(
    desk: Desk, before: Roles | None, asked: Sequence[str], number: int
) -> dict[str, list[SampledCompletion]]:
    """Answer a round's prompts: by SFT, and half of them by the policy before if there is one."""
    k = desk.demo.k
    if before is None:
        return desk.answers(desk.roles(), asked, n=k, seed=10 + number)
    old = desk.answers(desk.roles(), asked, n=k - k // 2, seed=10 + number)
    new = desk.answers(before, asked, role="policy", n=k // 2, seed=20 + number)
    return {prompt: [*old[prompt], *new[prompt]] for prompt in asked}


def _history(state: TrainingState) -> list[Observation]:
    entries = cast(list[dict[str, Any]], state.values["history"])
    return [Observation(**one) for one in entries]


def _point(seen: Observation, true: float) -> Point:
    assert seen.heldout_reward is not None
    assert seen.heldout_kl_nats is not None
    return Point(seen.step, seen.heldout_reward, true, seen.heldout_kl_nats)


def _value(measure: Measure) -> float:
    assert isinstance(measure.value, float), measure
    return measure.value


def _low(measure: Measure) -> float:
    """Return the lower bound; where nothing differs there is none, and nothing is shown."""
    return measure.interval.low if isinstance(measure.interval, Interval) else -math.inf


def _span(measure: Measure) -> str:
    if not isinstance(measure.interval, Interval):
        return "[no interval]"
    return f"[{measure.interval.low:.2f}, {measure.interval.high:.2f}]"

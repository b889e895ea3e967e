"""The rounds of one seed and taste under one variant of the plan, step by step.

What a step makes lies on a shelf under the settings that made it, so two variants that differ from
the third round on share the first two, and an interrupted course goes on where it was.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from app.demo.truth import PolicyTruth
from app.domain import kl_worth, length_limits
from app.domain.length_limits import LengthLimits, LongerWins
from app.domain.measures import Measure
from app.domain.plan import RoundPlan, Start
from tests.worker.proofs import reward_gate
from tests.worker.proofs.desk import Desk, Judged, RewardModel, TrueReward, Witness
from tests.worker.proofs.figures import high
from tests.worker.proofs.shelf import Shelf
from worker.rlhf.core.examples import SampledCompletion
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.roles import BASE, POLICY, Roles
from worker.rlhf.reward import reward_report, scoring
from worker.rlhf.reward.normalizer import Normalizer
from worker.rlhf.reward.scoring import AdapterReward, RewardFunction
from worker.training import policy as policy_recipe
from worker.training.algorithms import PolicyInputs

EVEN = 0.5  # below it, people prefer the policy before


class Look(NamedTuple):
    """A look at held-out prompts during a policy's training."""

    step: int
    reward: float
    utility: float  # the truth
    kl_nats: float


Completions = Mapping[str, Sequence[SampledCompletion]]


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to run rounds: changes of the first run's plan.

    `plan_of` returns the plan of a round, given the first run's plan, its number and the share of
    held-out votes that its reward model meets. With `knows_truth` the true utility is the reward.
    `from_policy` is the share of candidates that the last policy writes.
    """

    plan_of: Callable[[RoundPlan, int, float], RoundPlan] = lambda plan, _number, _accuracy: plan
    knows_truth: bool = False
    from_policy: float = RoundPlan().policy_share


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What a round came to; figures of the policy are of the weights kept."""

    number: int
    comparisons: int
    accuracy: float | None  # of the reward model on held-out votes; None: the truth is the reward
    true_accuracy: float | None  # on the same comparisons, against the truth
    kl_nats: float
    best_step: int
    steps: int
    stop_reason: str
    is_alarm: bool
    points: tuple[Look, ...]
    cpu_s: float  # of the policy's training
    answers: Mapping[str, str]  # of the policy that is current after the round, to the test prompts
    share: Measure | None = None  # of people's votes for the new policy; None in the first round
    is_held: bool = False  # the policy before stays the current one


@dataclass(frozen=True, slots=True)
class FittedReward:
    """A reward model on the shelf, and how good it is on held-out comparisons."""

    folder: Path
    names: tuple[str, ...]
    normaliser: Normalizer
    accuracy: float
    true_accuracy: float
    lengths: LengthLimits
    gate: str  # why a round would wait instead of training a policy; empty: it would not

    def function(self, roles: Roles, penalty: float) -> AdapterReward:
        """Load it onto a base."""
        for name in self.names:
            saving.load_reward(roles, self.folder / name, name)
        normaliser = self.normaliser.at(penalty)
        return AdapterReward(roles, self.names, scoring.probe(roles), normaliser, penalty)


@dataclass
class Course:
    """One desk and the shelf for what is made there."""

    desk: Desk
    shelf: Shelf
    variant: Variant = field(default_factory=Variant)

    def rounds(self) -> Iterator[RoundOutcome]:
        """Run round after round on all judgments so far; a policy that is clearly worse is held."""
        rows: list[Judged] = []
        before: Path | None = None
        for number, asked in enumerate(self.desk.prompts().rounds[: self.desk.sizes.rounds], 1):
            fitted = None
            if not self.variant.knows_truth:
                rows += self.desk.judged(self._candidates(before, asked, number), f"round {number}")
                fitted = self.reward(rows, self._plan(number))
            plan = self._plan(number, 1.0 if fitted is None else fitted.accuracy)
            plan = self._limited(plan, number * len(asked))
            policy = self.policy(fitted, plan, before)
            share = None if before is None else self._share_for(policy, before, number)
            is_held = share is not None and high(share) < EVEN
            outcome = self._outcome(policy, number, len(rows), fitted)
            if is_held and before is not None:
                outcome = replace(outcome, answers=self._test_answers(before))
            before = before if is_held else policy
            yield replace(outcome, share=share, is_held=is_held)

    def _share_for(self, policy: Path, before: Path, number: int) -> Measure:
        prompts = self.desk.prompts().evaluated
        old, new = (self.answers(one, prompts, seed=30 + number) for one in (before, policy))
        return self.desk.share_for(old, new, f"evaluation {number}")

    def _test_answers(self, policy: Path) -> dict[str, str]:
        return _texts(self.answers(policy, self.desk.prompts().test, seed=1))

    def answers(
        self, policy: Path | None, prompts: Sequence[str], *, n: int = 1, seed: int
    ) -> dict[str, list[SampledCompletion]]:
        """Let a policy, or the SFT model, answer prompts n times."""
        origin = [self._name(policy), list(prompts), n, seed]

        def make(folder: Path) -> None:
            roles = self.desk.roles()
            role = BASE
            if policy is not None:
                saving.load_policy(roles, policy, POLICY)
                role = POLICY
            found = self.desk.answers(roles, prompts, role=role, n=n, seed=seed)
            text = json.dumps({key: [asdict(one) for one in some] for key, some in found.items()})
            (folder / "answers.json").write_text(text, encoding="utf-8")

        path = self.shelf.made("answers", origin, make) / "answers.json"
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {key: [_completion(one) for one in some] for key, some in kept.items()}

    @cached_property
    def watched(self) -> list[Judged]:
        """The held-out comparisons."""
        prompts = self.desk.prompts().watched
        return self.desk.judged(self.answers(None, prompts, n=self.desk.demo.k, seed=3), "watched")

    @cached_property
    def sft_answers(self) -> dict[str, str]:
        """The SFT model's responses to the test prompts."""
        return _texts(self.answers(None, self.desk.prompts().test, seed=1))

    def won(self, old: Mapping[str, str], new: Mapping[str, str]) -> PolicyTruth:
        """Compare responses to the same prompts by the truth."""
        return self.desk.won(old, new)

    def reward(self, rows: Sequence[Judged], plan: RoundPlan) -> FittedReward:
        """Fit a reward model to judged prompts."""
        judged = hashlib.sha256(json.dumps([_row(one) for one in rows]).encode()).hexdigest()
        origin = [self._name(None), judged, plan.reward, plan.seed, self.desk.demo]

        def make(folder: Path) -> None:
            began = time.process_time()
            model = self.desk.reward_model(rows, self.watched, plan=plan)
            for name in model.names:
                saving.save_reward(model.roles, folder / name, role=name)
            kept = {
                "names": model.names,
                "normaliser": model.function.normalizer.to_json(),
                "accuracy": _votes(self.desk, model, self.watched),
                "true_accuracy": _truth(self.desk, model, self.watched),
                "gate": reward_gate.reason(self.desk, model, rows, self.watched),
                length_limits.RECORDED: _longer_wins(self.desk, model.roles, rows),
                "cpu_s": time.process_time() - began,
            }
            (folder / "reward.json").write_text(json.dumps(kept), encoding="utf-8")

        folder = self.shelf.made("reward", origin, make)
        kept = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
        return FittedReward(
            folder,
            tuple(kept["names"]),
            Normalizer.from_json(kept["normaliser"]),
            kept["accuracy"],
            kept["true_accuracy"],
            length_limits.of(kept),
            kept["gate"],
        )

    def policy(self, fitted: FittedReward | None, plan: RoundPlan, before: Path | None) -> Path:
        """Train a policy on a reward model, or on the truth."""
        start = before if plan.policy.start is Start.LAST else None
        source = self.desk.taste.name if fitted is None else fitted.folder.name
        settings = replace(plan.policy, start=Start.SFT)  # a first round has no other
        origin = [self._name(start), source, settings, plan.sampling, plan.seed]

        def make(folder: Path) -> None:
            began = time.process_time()
            roles = self.desk.roles()
            penalty = plan.policy.uncertainty_penalty
            reward = (
                TrueReward.fit(self.desk, roles)
                if fitted is None
                else fitted.function(roles, penalty)
            )
            normaliser = Normalizer() if fitted is None else fitted.normaliser.at(penalty)
            lengths = None if fitted is None else fitted.lengths
            run = practise(self.desk, roles, reward, normaliser, plan, start=start, lengths=lengths)
            saving.save_policy(roles, folder)
            kept = {**asdict(run), "cpu_s": time.process_time() - began}
            (folder / "run.json").write_text(json.dumps(kept), encoding="utf-8")

        return self.shelf.made("policy", origin, make)

    def _outcome(
        self, policy: Path, number: int, comparisons: int, fitted: FittedReward | None
    ) -> RoundOutcome:
        run = json.loads((policy / "run.json").read_text(encoding="utf-8"))
        points = tuple(Look(*one) for one in run["points"])
        return RoundOutcome(
            number=number,
            comparisons=comparisons,
            accuracy=None if fitted is None else fitted.accuracy,
            true_accuracy=None if fitted is None else fitted.true_accuracy,
            answers=self._test_answers(policy),
            kl_nats=next(one.kl_nats for one in points if one.step == run["best_step"]),
            points=points,
            **{name: run[name] for name in ("best_step", "steps", "stop_reason", "is_alarm")},
            cpu_s=run["cpu_s"],
        )

    def _plan(self, number: int, accuracy: float = 0.5) -> RoundPlan:
        return self.variant.plan_of(self.desk.plan, number, accuracy)

    def _limited(self, plan: RoundPlan, comparisons: int) -> RoundPlan:
        """Set the KL budget and price by the judgments, as a job does, also for the truth.

        Args:
            plan: of the round.
            comparisons: that people have made, or would have if the truth were not known.

        """
        reward = {kl_worth.RECORDED: comparisons * (self.desk.demo.k - 1)}
        given = plan.policy
        limited = replace(
            given,
            kl_budget=kl_worth.budget(given, reward),
            kl_coefficient=kl_worth.coefficient(given, reward),
        )
        return replace(plan, policy=limited)

    def _candidates(
        self, before: Path | None, asked: Sequence[str], number: int
    ) -> dict[str, list[SampledCompletion]]:
        """Answer a round's prompts: by SFT, and in part by the last policy if there is one."""
        k = self.desk.demo.k
        new = 0 if before is None else round(k * self.variant.from_policy)
        found: dict[str, list[SampledCompletion]] = {prompt: [] for prompt in asked}
        for policy, n, seed in ((None, k - new, 10 + number), (before, new, 20 + number)):
            if n:
                for prompt, some in self.answers(policy, asked, n=n, seed=seed).items():
                    found[prompt] += some
        return found

    def _name(self, policy: Path | None) -> list[object]:
        """Return what a policy, or the SFT model, is known by."""
        sizes = self.desk.sizes
        sft = [self.desk.seed, sizes.demonstrations, sizes.sft_steps]
        return [*sft, "" if policy is None else policy.name]


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """A policy's training: its looks at held-out prompts, and its end."""

    points: tuple[Look, ...]
    steps: int
    stop_reason: str
    is_alarm: bool
    best_step: int
    history: list[dict[str, Any]]


def practise(
    desk: Desk,
    roles: Roles,
    reward: RewardFunction,
    normaliser: Normalizer,
    plan: RoundPlan,
    *,
    start: Path | None = None,
    alarms: bool = True,
    lengths: LengthLimits | None = None,
) -> PolicyRun:
    """Train a policy on a reward as a job does, and note the truth at every look."""
    prompts, state = desk.prompts(), TrainingState()
    witness = Witness(reward, desk, roles)
    steps = plan.policy.steps(len(prompts.policy), 0).total
    own = policy_recipe.config_of(plan, roles, normaliser, steps, lengths=lengths)
    if not alarms:
        own = replace(own, watch=replace(own.watch, rules=()))
    items = [desk.items(roles, some) for some in (prompts.policy, prompts.looks)]
    given = PolicyInputs(roles, items[0], items[1], witness, [], state)
    prepared = policy_recipe.prepare(plan, given, own, start)
    truths: list[float] = []
    for report in prepared.loop:
        if "heldout/reward" in report.metrics:
            if not truths:
                truths.append(witness.seen[0][1])
            truths.append(witness.seen[-1][1])
    history: list[dict[str, Any]] = state.values["history"]  # type: ignore[assignment]
    looks = [one for one in history if one["heldout_reward"] is not None]
    truths = truths or [witness.seen[0][1]]  # an alarm may come before the second look
    assert state.best is not None
    return PolicyRun(
        tuple(
            Look(one["step"], one["heldout_reward"], true, one["heldout_kl_nats"])
            for one, true in zip(looks, truths, strict=True)
        ),
        state.step,
        str(state.values["stop_reason"]),
        bool(state.values["stopped_by_alarm"]),
        state.best.step,
        history,
    )


def _votes(desk: Desk, model: RewardModel, rows: Sequence[Judged]) -> float:
    value = desk.votes_of(model, rows).value
    assert isinstance(value, float)
    return value


def _truth(desk: Desk, model: RewardModel, rows: Sequence[Judged]) -> float:
    value = desk.truth_of(model, rows, longer_wins=True).accuracy.value
    assert isinstance(value, float)
    return value


def _longer_wins(desk: Desk, roles: Roles, rows: Sequence[Judged]) -> dict[str, float] | None:
    found = LongerWins.of_prompts(reward_report.longer_wins(desk.rankings(roles, rows)))
    return None if found is None else asdict(found)


def _texts(answers: Completions) -> dict[str, str]:
    return {prompt: some[0].text for prompt, some in answers.items()}


def _completion(kept: dict[str, Any]) -> SampledCompletion:
    given = {**kept, "token_ids": tuple(kept["token_ids"]), "logprobs": tuple(kept["logprobs"])}
    return SampledCompletion(**given)


def _row(row: Judged) -> list[object]:
    return [row.prompt, [list(one.token_ids) for one in row.completions], row.orders]

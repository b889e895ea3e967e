"""Runs that make no episodes of their own are watched too: stops, best weights, samples, resume."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from tests.worker.rlhf.reward.test_reward_model import rankings
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import best_of_n, dpo
from worker.rlhf.policy.best_of_n import BestOfNConfig
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.policy.fresh_votes import FreshPair, FreshPreference
from worker.rlhf.policy.policy_watch import PolicyWatch, WatchConfig
from worker.rlhf.policy.rollout import Forward
from worker.rlhf.policy.stopping import FreshVote, History, Rule
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft.finetuning import SftConfig

SAMPLING = SamplingConfig(n=4, max_new_tokens=6)
DPO = DpoConfig(epochs=2, batch_rankings=4, learning_rate=3e-2, autocast=False, lora=tiny.LORA)
BEST = BestOfNConfig(
    SAMPLING, SftConfig(epochs=6, batch_size=8, learning_rate=3e-2, lora=tiny.LORA, autocast=False)
)
STEPS = 6
Start = Callable[[TrainingState, tuple[Rule, ...]], tuple[Roles, Iterator[StepReport]]]


@dataclass(frozen=True)
class AlarmAt:
    """Fires from a step on."""

    step: int
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        return f"alarm at {self.step}" if history[-1].step >= self.step else None


def watch_of(roles: Roles, state: TrainingState, rules: tuple[Rule, ...]) -> PolicyWatch:
    return PolicyWatch(
        roles,
        [replace(item, text=f"Question {item.key}") for item in prompts(4, start=50)],
        LikesOneSide(),
        WatchConfig(every=2, prompts=4, samples=2, rules=rules),
        SamplingConfig(max_new_tokens=6),
        Forward(autocast=False),
        state,
    )


def by_dpo(state: TrainingState, rules: tuple[Rule, ...]) -> tuple[Roles, Iterator[StepReport]]:
    roles = Roles(tiny.loaded())
    dpo.prepare(roles, DPO)
    return roles, dpo.train(roles, rankings(12), DPO, state, watch_of(roles, state, rules))


def by_best_of_n(
    state: TrainingState, rules: tuple[Rule, ...]
) -> tuple[Roles, Iterator[StepReport]]:
    roles = Roles(tiny.loaded())
    best_of_n.prepare(roles, BEST)
    watch = watch_of(roles, state, rules)
    return roles, best_of_n.train(roles, prompts(8), LikesOneSide(), BEST, state, watch)


ALGORITHMS = pytest.mark.parametrize("start", [by_dpo, by_best_of_n], ids=["dpo", "best-of-n"])


def weights_of(roles: Roles) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in roles.parameters_of("policy")]


@ALGORITHMS
def test_evaluations_have_samples_and_the_model_ends_with_the_best_weights(start: Start) -> None:
    state = TrainingState()
    roles, loop = start(state, ())
    seen: dict[int, list[Tensor]] = {0: weights_of(roles)}
    reports = []
    for report in loop:
        reports.append(report)
        if report.stop_reason is None:
            seen[report.step] = weights_of(roles)
    assert [each.step for each in reports] == list(range(1, STEPS + 1))
    assert [len(each.samples) for each in reports] == [0, 2, 0, 2, 0, 2]
    assert [len(each.start_samples) for each in reports] == [2, 0, 0, 0, 0, 0]
    asked = [sample.prompt for sample in reports[0].start_samples]
    assert asked == [sample.prompt for sample in reports[-1].samples]
    assert all(text.startswith("Question ") for text in asked)
    assert reports[-1].stop_reason == f"steps: all {STEPS} done"
    evaluated = {each.step: each.metrics for each in reports if "heldout/objective" in each.metrics}
    assert list(evaluated) == [2, 4, 6]
    assert state.best is not None
    best = max(evaluated, key=lambda step: evaluated[step]["heldout/objective"])
    if evaluated[best]["heldout/objective"] > state.best.value:
        pytest.fail("an evaluation was better than the weights kept")
    for ours, kept in zip(weights_of(roles), state.best.weights.values(), strict=True):
        assert torch.equal(ours, kept)
    if state.best.step in seen:
        assert all(map(torch.equal, weights_of(roles), seen[state.best.step]))


@ALGORITHMS
def test_an_alarm_ends_the_run_and_the_weights_then_are_not_kept(start: Start) -> None:
    state = TrainingState()
    rules = (AlarmAt(1),)  # where there is no evaluation
    roles, loop = start(state, rules)
    begun = weights_of(roles)
    reports = list(loop)
    assert reports[-1].step == 2
    assert reports[-1].stop_reason == "alarm at 1"
    assert state.values["stopped_by_alarm"] is True
    assert state.best is not None
    assert state.best.step == 0
    assert all(map(torch.equal, weights_of(roles), begun))
    assert list(start(state, rules)[1]) == []


@ALGORITHMS
@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_a_killed_run_resumes_to_bit_equal_evaluations_and_weights(
    tmp_path: Path, start: Start, stop_after: int
) -> None:
    roles, loop = start(TrainingState(), ())
    whole = list(loop)
    state = TrainingState()
    begun = list(islice(start(state, ())[1], stop_after))
    state.save(tmp_path)
    state = TrainingState()
    state.restore(tmp_path)
    fresh, loop = start(state, ())
    with torch.no_grad():
        for parameter in fresh.parameters_of("policy"):
            parameter.add_(1.0)
    resumed = list(loop)
    assert [_untimed(each) for each in begun + resumed] == [_untimed(each) for each in whole]
    assert all(map(torch.equal, weights_of(fresh), weights_of(roles)))


@ALGORITHMS
def test_without_heldout_prompts_a_run_takes_all_its_steps(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PolicyWatch, "_is_due", lambda *_: False)
    reports = list(start(TrainingState(), (AlarmAt(1),))[1])
    assert len(reports) == STEPS
    assert reports[-1].stop_reason == f"steps: all {STEPS} done"


@dataclass
class People:
    """Those who are asked: all prefer the reference, one evaluation later."""

    prompts: int = 3
    asked: dict[int, list[FreshPair]] = field(default_factory=dict)

    def ask(self, step: int, pairs: Sequence[FreshPair]) -> int:
        self.asked[step] = list(pairs)
        return len(pairs) - 1

    def read(self) -> Mapping[int, Sequence[FreshVote]]:
        return {
            step: [(pair.prompt.key, 0.0) for pair in pairs] for step, pairs in self.asked.items()
        }


def test_people_are_asked_about_heldout_prompts_in_turn_and_can_stop_a_run() -> None:
    roles, state, people = Roles(tiny.loaded()), TrainingState(), People()
    dpo.prepare(roles, DPO)
    watch = watch_of(roles, state, (FreshPreference(votes=6),))
    watch.fresh = people
    state_metrics = [each.metrics for each in dpo.train(roles, rankings(12), DPO, state, watch)]
    heldout = [item.key for item in watch.heldout]
    first, second = ([pair.prompt.key for pair in people.asked[step]] for step in (2, 4))
    assert first == heldout[:3]
    assert second == [heldout[3], *heldout[:2]]
    assert list(people.asked) == [2, 4], "the last evaluation has nobody to wait for"
    assert [state_metrics[n].get("fresh/votes") for n in (1, 3, 5)] == [0.0, 3.0, 6.0]
    assert state_metrics[3]["fresh/share"] == 0.0
    assert state_metrics[1]["fresh/identical"] == 1.0
    assert [len(each.fresh) for each in watch.history] == [0, 3, 3, 0]
    pair = people.asked[2][0]
    assert pair.policy.prompt_key == pair.reference.prompt_key == heldout[0]


@pytest.mark.parametrize("stop_after", [2, 4])
def test_a_run_with_fresh_votes_resumes_to_the_same_pairs(tmp_path: Path, stop_after: int) -> None:
    def run(state: TrainingState, people: People) -> Iterator[StepReport]:
        roles = Roles(tiny.loaded())
        dpo.prepare(roles, DPO)
        watch = watch_of(roles, state, ())
        watch.fresh = people
        return dpo.train(roles, rankings(12), DPO, state, watch)

    whole, killed = People(), People()
    reports = list(run(TrainingState(), whole))
    state = TrainingState()
    begun = list(islice(run(state, killed), stop_after))
    state.save(tmp_path)
    state = TrainingState()
    state.restore(tmp_path)
    resumed = list(run(state, killed))
    assert killed.asked == whole.asked
    assert [_untimed(each) for each in begun + resumed] == [_untimed(each) for each in reports]
    silent = list(by_dpo(TrainingState(), ())[1])
    assert [
        {name: value for name, value in each.metrics.items() if not name.startswith("fresh/")}
        for each in map(_bare, reports)
    ] == [each.metrics for each in map(_bare, silent)], "asking changes nothing that is trained"


def test_dpo_ends_early_where_it_is_told_to() -> None:
    roles, config = Roles(tiny.loaded()), replace(DPO, max_steps=3)
    dpo.prepare(roles, config)
    reports = list(dpo.train(roles, rankings(12), config, TrainingState()))
    assert [each.steps_total for each in reports] == [3, 3, 3]


def _bare(report: StepReport) -> StepReport:
    return replace(report, metrics=_untimed(report)[0])


def _untimed(report: StepReport) -> tuple[dict[str, float], object, str | None]:
    metrics = {k: v for k, v in report.metrics.items() if not k.startswith("time/")}
    return metrics, report.samples, report.stop_reason

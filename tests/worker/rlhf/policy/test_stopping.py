"""Each rule fires at its own sign, stays silent otherwise, and reads nothing but the history."""

from dataclasses import replace
from typing import Any

import pytest

from worker.rlhf.policy import stopping
from worker.rlhf.policy.stopping import Observation

CALM = Observation(
    step=1,
    reward=0.0,
    kl_nats=1.0,
    length=40.0,
    entropy=2.0,
    disagreement=0.5,
    heldout_reward=0.0,
    heldout_kl_nats=1.0,
)
FAR = {"kl_nats": 1.1}  # farther from the reference than at the first step


def heldout(*rewards: float | None) -> list[Observation]:
    return [
        replace(CALM, step=n, heldout_reward=reward) for n, reward in enumerate(rewards, start=1)
    ]


@pytest.mark.parametrize(
    ("rule", "sign", "just_before"),
    [
        (stopping.KlBudget(3.0), {"kl_nats": 9.1}, {"kl_nats": 8.9}),
        (stopping.RewardTarget(2.0), {"heldout_reward": 2.0}, {"heldout_reward": 1.9}),
        (stopping.Disagreement(2.0), {"disagreement": 1.1}, {"disagreement": 0.9}),
        (stopping.LengthDrift(1.5, 9.0), FAR | {"length": 61.0}, FAR | {"length": 59.0}),
        (stopping.LengthDrift(9.0, 1.5), FAR | {"length": 26.0}, FAR | {"length": 27.0}),
        (stopping.LengthDrift(9.0, 1.5), FAR | {"length": 26.0}, {"length": 26.0, "kl_nats": 0.9}),
        (stopping.EntropyCollapse(0.2), {"entropy": 0.39}, {"entropy": 0.41}),
    ],
)
def test_a_rule_fires_past_its_limit_and_not_before(
    rule: stopping.Rule, sign: dict[str, Any], just_before: dict[str, Any]
) -> None:
    assert rule.reason([CALM, replace(CALM, step=2, **just_before)]) is None
    assert rule.reason([CALM, replace(CALM, step=2, **sign)]) is not None


def test_a_plateau_is_a_window_no_better_than_the_one_before() -> None:
    rule = stopping.Plateau(evaluations=2, min_gain=0.1)
    assert rule.reason(heldout(0.0, 0.2, 0.3, 0.5)) is None
    assert rule.reason(heldout(0.0, 0.2, 0.1, 0.2)) is not None
    assert rule.reason(heldout(0.2, 0.1, 0.2)) is None


def test_a_peak_is_old_and_clearly_above_now() -> None:
    rule = stopping.HeldoutPeak(patience=2, tolerance=0.1)
    assert rule.reason(heldout(0.0, 1.0, 0.9, 0.8)) is not None
    assert rule.reason(heldout(0.0, 1.0, 0.8)) is None
    assert rule.reason(heldout(0.0, 1.0, 0.9, 0.95)) is None


@pytest.mark.parametrize(
    ("noise", "is_clear"),
    [(0.1, True), (3.0, False)],  # a fall of 0.5 with standard errors of 0.02 and 0.69
)
def test_a_fall_within_the_error_of_its_means_is_no_peak(noise: float, is_clear: bool) -> None:
    def look(step: int, mean: float, sign: int) -> Observation:
        rewards = [mean + sign * noise * (-1) ** n / 2 for n in range(20)]
        return replace(CALM, step=step, heldout_reward=mean, heldout_rewards=rewards)

    looks = [look(0, 1.0, 1), look(1, 0.9, -1), look(2, 0.5, -1)]
    reason = stopping.HeldoutPeak(patience=2).reason(looks)
    assert (reason is not None) is is_clear


def test_steps_between_evaluations_are_not_counted_as_evaluations() -> None:
    rule = stopping.HeldoutPeak(patience=2, tolerance=0.1)
    assert rule.reason(heldout(1.0, None, None, 0.5, None)) is None
    assert rule.reason(heldout(1.0, None, 0.5, None, 0.5)) is not None


def test_disagreement_never_stops_without_an_ensemble() -> None:
    alone = replace(CALM, disagreement=None)
    assert stopping.Disagreement().reason([alone, replace(alone, step=2)]) is None


def test_an_alarm_is_named_before_an_ordinary_end() -> None:
    now = replace(CALM, step=2, heldout_reward=5.0, kl_nats=100.0)
    rules: list[stopping.Rule] = [stopping.RewardTarget(2.0), stopping.KlBudget(3.0)]
    stop = stopping.check(rules, [CALM, now], steps_total=2)
    assert stop is not None
    assert stop.is_alarm
    assert stop.reason.startswith("KL budget")


def test_a_run_ends_with_its_last_step_and_not_before() -> None:
    assert stopping.check([], [CALM], steps_total=2) is None
    stop = stopping.check([], [CALM, replace(CALM, step=2)], steps_total=2)
    assert stop is not None
    assert not stop.is_alarm

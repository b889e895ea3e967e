"""Estimates of a launch: measured where jobs were, and assumed aloud where none were."""

from dataclasses import replace

import pytest

from app.domain import launch_estimate
from app.domain.launch_estimate import LaunchEstimate, Pace, Work
from app.domain.plan import Algorithm, PolicyPlan, RoundPlan, SftPlan

WORK = Work({"sft": 100, "generate": 50, "reward": 10, "policy": 20, "evaluate": 8})
SECONDS = {"sft": 0.1, "generate": 0.2, "reward": 1.0, "policy": 2.0, "evaluate": 0.5}
MEASURED = Pace(SECONDS, jobs=5, bytes=2**30)


def estimated(pace: Pace, plan: RoundPlan | None = None, work: Work = WORK) -> LaunchEstimate:
    return launch_estimate.estimate(plan or RoundPlan(), work, pace, k=2)


def test_what_was_measured_is_multiplied_by_the_rows_of_each_stage() -> None:
    found = estimated(MEASURED)
    assert found.seconds == pytest.approx(10 + 10 + 10 + 40 + 4)
    assert found.basis == "measured in 5 jobs here"
    assert (found.bytes, found.memory_basis) == (2**30, "the most that a training took here")


def test_before_anything_was_measured_the_assumptions_are_stated() -> None:
    found = estimated(Pace(parameters=1_000_000))
    assert found.seconds is not None
    assert found.basis.startswith("not measured yet; assumed from 1,000,000 parameters, prompts of")
    assert "50 billion operations a second on processor cores" in found.basis
    larger = estimated(Pace(parameters=10_000_000)).seconds
    assert larger == pytest.approx(10 * found.seconds)
    gpu = estimated(Pace(parameters=1_000_000, has_gpu=True))
    assert gpu.seconds is not None
    assert gpu.seconds < found.seconds / 100
    assert "without activations" in found.memory_basis
    assert found.bytes == 16_000_000


def test_the_lengths_of_the_projects_texts_count_where_there_are_any() -> None:
    known = Pace(parameters=1_000_000, prompt_characters=80.0, response_characters=120.0)
    unknown = estimated(replace(known, prompt_characters=None, response_characters=None))
    found = estimated(known)
    assert "prompts of 20 tokens, responses of 30, and" in found.basis
    assert "prompts of 100 tokens, responses of 43, a third of the limit of 128, and" in (
        unknown.basis
    )
    assert found.seconds is not None
    assert unknown.seconds == pytest.approx(found.seconds * (100 + 128 / 3) / (20 + 30))
    assert "responses of 128," in estimated(replace(known, response_characters=9e4)).basis


def test_a_model_of_unknown_size_has_no_estimate_and_says_why() -> None:
    found = estimated(Pace())
    assert (found.seconds, found.bytes) == (None, None)
    assert "the size of the base model is not known" in found.basis
    assert "the size of the base model is not known" in found.memory_basis


def test_stages_that_no_job_was_measured_of_are_assumed_and_named() -> None:
    some = replace(MEASURED, seconds={"sft": 0.1}, jobs=1, parameters=1_000_000)
    basis = estimated(some).basis
    assert basis.startswith("measured in 1 job here; generate, reward, policy, evaluate not")
    assert estimated(some, work=Work({"sft": 10})).seconds == pytest.approx(1.0)


def test_memory_follows_the_check_of_the_model_and_what_is_trained() -> None:
    checked = Pace(parameters=1000, bytes_needed=8000)
    assert estimated(checked).bytes == 8000
    assert estimated(checked, RoundPlan(four_bit=True)).bytes == 2000
    assert estimated(checked, RoundPlan(sft=SftPlan(is_full=True))).bytes == 16_000


def test_an_algorithm_that_trains_less_is_faster() -> None:
    pace = Pace(parameters=1_000_000)
    ppo, dpo = (
        estimated(pace, RoundPlan(policy=PolicyPlan(algorithm=each)), Work({"policy": 100})).seconds
        for each in (Algorithm.PPO, Algorithm.DPO)
    )
    assert ppo is not None
    assert dpo is not None
    assert dpo < ppo

import json
from dataclasses import replace
from typing import Any

import pytest

from app.domain.plan import (
    Algorithm,
    Engine,
    EvaluationPlan,
    PolicyPlan,
    RoundPlan,
    Sampling,
    SftPlan,
)
from app.domain.reward_parts import (
    CheckpointName,
    LabelerWeight,
    PairLoss,
    PartKind,
    RewardPart,
    ScoreForm,
    Weighing,
)
from app.domain.reward_plan import Combination, RewardPlan
from app.domain.server_plan import SamplingServerPlan, ServerPlan
from app.domain.step_counts import StepCount
from app.errors import Invalid


def test_a_plan_survives_json() -> None:
    plan = RoundPlan(
        prompts=7,
        k=3,
        sft=None,
        checkpoints_gradients=True,
        token_budget=512,
        policy=PolicyPlan(kl_budget=None, plateau=4, learning_rate=1, batch_size=8),
        reward=RewardPlan(
            loss=PairLoss.PLACKETT_LUCE,
            weighing=Weighing.VOTES,
            labelers=(LabelerWeight("L2", 0.5),),
            parts=(
                RewardPart(PartKind.CLASSIFIER, model="m", label="harmless"),
                RewardPart(PartKind.LENGTH, -0.5, longest=40),
                RewardPart(PartKind.FORMAT, pattern=r"^\d+$"),
                RewardPart(PartKind.REWARD_MODEL, name="safety", model="Reward 1"),
                RewardPart(PartKind.ENDPOINT, url="https://scorer/score", at_least=0.5),
            ),
            combination=Combination.SAFETY_FIRST,
            safety="safety",
            safety_tags=("safety",),
            max_steps=7,
        ),
        evaluation=EvaluationPlan(prompts=250, overlap=3),
        sampling=Sampling(engine=Engine.CONTINUOUS),
        server=ServerPlan("http://127.0.0.1:8000/v1", "small", candidates=2),
        sampling_server=SamplingServerPlan("http://127.0.0.1:8001/v1", "base", publish_every=2),
    )
    assert RoundPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_what_is_left_out_has_its_default() -> None:
    assert RoundPlan.from_json({}) == RoundPlan()
    assert RoundPlan.from_json({"policy": {"passes": 2}}).policy.kl_coefficient == 0.1


SERVED = {"url": "http://127.0.0.1:8001/v1", "model": "base"}
SAFE = {
    "kind": "classifier",
    "model": "m",
    "label": "harmless",
    "score": "probability",
    "name": "safe",
}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"promts": 3}, "no setting 'promts'"),
        ({"prompts": "many"}, "plan prompts must be a value of type int"),
        ({"prompts": True}, "type int"),
        ({"prompts": 0}, "prompts must be 1 to 10000000, not 0"),
        ({"policy": {"algorithm": "magic"}}, "algorithm must be one of ppo, rloo, dpo, best-of-n"),
        ({"policy": {"algorithm": "rloo", "samples": 1}}, "rloo needs at least 2 samples"),
        ({"policy": {"algorithm": "best-of-n", "samples": 1}}, "best-of-n needs at least 2"),
        (
            {"policy": {"algorithm": "rloo", "samples": 3, "batch_size": 64}},
            "batch_size 64 must be a multiple of samples 3",
        ),
        ({"reward": {"parts": {}}}, "plan reward parts must be a list"),
        ({"reward": {"parts": [{"weight": 1}]}}, "plan reward parts 1 needs 'kind'"),
        ({"reward": {"parts": [{"kind": "mood"}]}}, "kind must be one of classifier, reward_model"),
        ({"reward": {"parts": [{"kind": "classifier"}]}}, "needs a model"),
        ({"reward": {"parts": [{"kind": "length"}]}}, "needs a shortest or a longest"),
        (
            {"reward": {"parts": [{"kind": "length", "shortest": 9, "longest": 3}]}},
            "longest response of the length reward is 3, below the shortest, 9",
        ),
        (
            {"reward": {"parts": [{"kind": "format", "pattern": "("}]}},
            "is not a regular expression",
        ),
        ({"reward": {"parts": [{"kind": "length", "longest": 9, "weight": 0}]}}, "has weight 0"),
        ({"reward": {"parts": [{"kind": "length", "longest": 9}] * 9}}, "must be 0 to 8, not 9"),
        ({"reward": {"weight": 0.0}}, "the policy has no reward"),
        ({"reward": {"labelers": [{"labeler": "L1"}]}}, "plan reward labelers 1 needs 'weight'"),
        (
            {"reward": {"labelers": [{"labeler": "L1", "weight": 0.5}] * 2}},
            "labeler L1 must have one weight, not 2",
        ),
        (
            {"reward": {"parts": [{"kind": "endpoint", "url": "ftp://a"}]}},
            "url of an endpoint reward must begin with http:// or https://, not 'ftp://a'",
        ),
        ({"reward": {"parts": [{"kind": "reward_model"}]}}, "needs a folder, a hub name, or"),
        (
            {"reward": {"parts": [{"kind": "length", "longest": 9, "rubric": "a"}]}},
            "the length reward has a rubric; only a judge goes by one",
        ),
        (
            {
                "reward": {
                    "combination": "safety_first",
                    "safety": "a",
                    "parts": [{"kind": "judge", "url": "http://h", "model": "m", "name": "a"}],
                }
            },
            "'a' is a judge, which scores from 1 to 10",
        ),
        (
            {"reward": {"parts": [{"kind": "length", "longest": 9, "name": "a/b"}]}},
            "name of a reward must be at most 30 letters",
        ),
        (
            {"reward": {"parts": [{"kind": "length", "longest": 9, "name": "learned"}]}},
            "name 'learned' is that of the reward model",
        ),
        (
            {"reward": {"parts": [{"kind": "reward_model", "model": "m", "name": "a"}] * 2}},
            "name 'a' is given to 2 rewards",
        ),
        (
            {
                "reward": {
                    "parts": [{"kind": "reward_model", "model": "m", "weight": -1, "at_least": 0}]
                }
            },
            "a floor needs a positive weight",
        ),
        ({"reward": {"safety": "a"}}, "safety is set, but the combination is 'sum'"),
        (
            {"reward": {"combination": "safety_first", "safety": "b", "parts": [SAFE]}},
            "not 'b'; the rewards are learned, safe",
        ),
        (
            {
                "reward": {
                    "combination": "safety_first",
                    "safety": "safe",
                    "parts": [SAFE | {"score": "logit"}],
                }
            },
            "the score of 'safe' must be probability, not logit",
        ),
        (
            {
                "reward": {
                    "combination": "safety_first",
                    "safety": "safe",
                    "weight": 0,
                    "parts": [SAFE, {"kind": "length", "longest": 9}],
                }
            },
            "needs a reward for helpfulness besides the safety reward",
        ),
        (
            {"reward": {"combination": "safety_first", "safety": "learned"}},
            "needs a reward for helpfulness besides the safety reward",
        ),
        ({"reward": {"max_steps": 0}}, "reward max_steps must be 1"),
        ({"policy": {"kl_coefficient": -1}}, "kl_coefficient must be 0.0 to"),
        ({"policy": {"batch_size": 4, "minibatches": 8}}, "minibatches must be 1 to 4, not 8"),
        ({"policy": {"learning_rate": float("nan")}}, "not nan"),
        ({"reward": 5}, "plan reward must be an object"),
        ({"sampling": {"engine": "magic"}}, "engine must be one of static, continuous"),
        ({"server": {"url": "ftp://a", "model": "b"}}, "must begin with http"),
        ({"server": {"model": "b"}}, "must begin with http:// or https://, not ''"),
        ({"server": {"url": "http://a"}}, "model must have 1 to 100 characters"),
        ({"sampling_server": {"model": "b"}}, "sampling_server url must begin with http"),
        ({"sampling_server": {"url": "http://a"}}, "sampling_server model must have 1 to 100"),
        ({"policy": {"plateau": 0}}, "plateau must be 1 to 10000, not 0"),
        ({"processes": 0}, "processes must be 1 to 64, not 0"),
        ({"four_bit": True, "sft": {"is_full": True}}, "cannot be trained in full"),
        ({"parallel": "pipeline"}, "parallel must be one of data, sharded"),
        ({"parallel": "sharded", "four_bit": True}, "in 4 bits cannot be divided"),
        ({"parallel": "sharded", "processes": 1}, "among processes; processes is 1"),
        ({"sampling_server": SERVED, "processes": 2}, "in one process; processes is 2"),
        ({"sampling_server": SERVED, "parallel": "sharded"}, "parallel must be data, not sharded"),
        ({"sft": {"starter": {"width": 10, "heads": 4}}}, "must be a multiple of heads 4"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(data: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        RoundPlan.from_json(data)


def test_steps_are_those_people_expect() -> None:
    reward = RewardPlan(batch_size=64, epochs=30).steps(3000)
    policy = PolicyPlan(batch_size=64, epochs=10, prompts=2000).steps(5000)
    assert (reward.per_epoch, reward.total) == (47, 1410)
    assert (policy.per_epoch, policy.total) == (32, 320)
    several = PolicyPlan(algorithm=Algorithm.RLOO, samples=4, epochs=1, batch_size=64, prompts=100)
    assert several.steps(5000).total == 7
    judged = PolicyPlan(algorithm=Algorithm.DPO, batch_size=16, epochs=2)
    assert judged.steps(5000, comparisons=40).total == 6
    best = PolicyPlan(algorithm=Algorithm.BEST_OF_N, samples=8, batch_size=50)
    assert best.steps(100, comparisons=40).total == 2
    assert SftPlan(batch_size=10, epochs=5, max_steps=12).steps(100).total == 12


@pytest.mark.parametrize(
    ("evaluate_every", "sample_every", "kept"),
    [(5, 5, [5, 10, 15, 20]), (5, 1, [5, 10, 15, 20]), (5, 10, [10, 20]), (4, 10, [12, 20])],
)
def test_answers_of_looks_are_kept_at_most_so_often(
    evaluate_every: int, sample_every: int, kept: list[int]
) -> None:
    policy = PolicyPlan(evaluate_every=evaluate_every, sample_every=sample_every)
    looks = range(evaluate_every, 21, evaluate_every)
    assert [step for step in looks if policy.keeps_samples(step, evaluate_every)] == kept


@pytest.mark.parametrize(("steps", "every"), [(3, 1), (7, 1), (15, 2), (30, 5), (1000, 5)])
def test_short_runs_are_looked_at_often_enough_for_a_peak(steps: int, every: int) -> None:
    assert PolicyPlan().evaluation_interval(steps) == every
    assert PolicyPlan(evaluate_every=7).evaluation_interval(steps) == 7


def test_a_plan_of_an_earlier_version_reads_as_the_same_reward() -> None:
    row = {"kind": "classifier", "weight": 0.5, "model": "m", "label": "ok", "reads_prompt": False}
    earlier = {"reward": {"weight": 0.25, "parts": [row | {"shortest": 0, "longest": None}]}}
    plan = RoundPlan.from_json(earlier).reward
    assert (plan.weight, plan.titles, plan.curves) == (
        0.25,
        ("classifier-1",),
        ("learned", "classifier-1"),
    )
    assert (plan.combination, plan.parts[0].score) == (Combination.SUM, ScoreForm.LOGIT)


def test_only_a_reward_that_counts_or_dpo_needs_judgments() -> None:
    parts = (RewardPart(PartKind.LENGTH, longest=9),)
    unfitted = RoundPlan(reward=RewardPlan(weight=0.0, parts=parts))
    assert not unfitted.fits_reward
    assert unfitted.reward.curves == ("length-1",)
    assert RoundPlan().fits_reward
    measured = replace(unfitted.reward, fits_unweighted=True)
    assert replace(unfitted, reward=measured).fits_reward
    assert replace(unfitted, policy=PolicyPlan(algorithm=Algorithm.DPO)).fits_reward


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Reward 2", CheckpointName("", "Reward 2")),
        ("other-desk/Reward 12", CheckpointName("other-desk", "Reward 12")),
        ("org/reward-2", None),
        ("/models/Reward 2", None),
        ("Reward", None),
    ],
)
def test_a_reward_model_of_the_installation_is_known_by_its_name(
    model: str, expected: CheckpointName | None
) -> None:
    assert RewardPart(PartKind.REWARD_MODEL, model=model).checkpoint == expected
    assert RewardPart(PartKind.CLASSIFIER, model=model).checkpoint is None


def test_a_limit_of_steps_ends_the_fit_early() -> None:
    assert RewardPlan(epochs=1, batch_size=4).steps(40).total == 10
    assert RewardPlan(epochs=1, batch_size=4, max_steps=3).steps(40) == StepCount(10, 3)
    assert RewardPlan(epochs=1, batch_size=4, max_steps=30).steps(40).total == 10


@pytest.mark.parametrize(
    ("plan", "prompts", "steps"),
    [
        (PolicyPlan(), 166, StepCount(3, 21)),
        (PolicyPlan(), 2000, StepCount(32, 32)),
        (PolicyPlan(), 5, StepCount(1, 20)),
        (PolicyPlan(epochs=1), 166, StepCount(3, 3)),
        (PolicyPlan(max_steps=10), 166, StepCount(3, 10)),
        (PolicyPlan(algorithm=Algorithm.RLOO, samples=4), 166, StepCount(11, 22)),
        (PolicyPlan(algorithm=Algorithm.DPO), 166, StepCount(3, 3)),
        (PolicyPlan(algorithm=Algorithm.BEST_OF_N), 166, StepCount(3, 3)),
    ],
)
def test_few_prompts_are_used_several_times(
    plan: PolicyPlan, prompts: int, steps: StepCount
) -> None:
    assert plan.steps(prompts) == steps

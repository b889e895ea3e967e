import json
from typing import Any

import pytest

from app.domain.plan import (
    Algorithm,
    Engine,
    EvaluationPlan,
    PolicyPlan,
    RewardPlan,
    RoundPlan,
    Sampling,
    SftPlan,
)
from app.domain.reward_parts import LabelerWeight, PairLoss, PartKind, RewardPart, Weighing
from app.domain.server_plan import ServerPlan
from app.errors import Invalid


def test_a_plan_survives_json() -> None:
    plan = RoundPlan(
        prompts=7,
        k=3,
        sft=None,
        checkpoints_gradients=True,
        policy=PolicyPlan(kl_budget=None, plateau=4, learning_rate=1, batch_size=8),
        reward=RewardPlan(
            loss=PairLoss.PLACKETT_LUCE,
            weighing=Weighing.VOTES,
            labelers=(LabelerWeight("L2", 0.5),),
            parts=(
                RewardPart(PartKind.CLASSIFIER, model="m", label="harmless"),
                RewardPart(PartKind.LENGTH, -0.5, longest=40),
                RewardPart(PartKind.FORMAT, pattern=r"^\d+$"),
            ),
        ),
        evaluation=EvaluationPlan(prompts=250, overlap=3),
        sampling=Sampling(engine=Engine.CONTINUOUS),
        server=ServerPlan("http://127.0.0.1:8000/v1", "small", candidates=2),
    )
    assert RoundPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_what_is_left_out_has_its_default() -> None:
    assert RoundPlan.from_json({}) == RoundPlan()
    assert RoundPlan.from_json({"policy": {"passes": 2}}).policy.kl_coefficient == 0.1


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
        ({"reward": {"parts": [{"kind": "mood"}]}}, "kind must be one of classifier, length"),
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
        ({"policy": {"kl_coefficient": -1}}, "kl_coefficient must be 0.0 to"),
        ({"policy": {"batch_size": 4, "minibatches": 8}}, "minibatches must be 1 to 4, not 8"),
        ({"policy": {"learning_rate": float("nan")}}, "not nan"),
        ({"reward": 5}, "plan reward must be an object"),
        ({"sampling": {"engine": "magic"}}, "engine must be one of static, continuous"),
        ({"server": {"url": "ftp://a", "model": "b"}}, "must begin with http"),
        ({"server": {"model": "b"}}, "must begin with http:// or https://, not ''"),
        ({"server": {"url": "http://a"}}, "model must have 1 to 100 characters"),
        ({"policy": {"plateau": 0}}, "plateau must be 1 to 10000, not 0"),
        ({"processes": 0}, "processes must be 1 to 64, not 0"),
        ({"four_bit": True, "sft": {"is_full": True}}, "cannot be trained in full"),
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
    several = PolicyPlan(algorithm=Algorithm.RLOO, samples=4, batch_size=64, prompts=100)
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
    assert [step for step in looks if policy.keeps_samples(step, 20)] == kept


@pytest.mark.parametrize(("steps", "every"), [(3, 1), (7, 1), (15, 2), (30, 5), (1000, 5)])
def test_short_runs_are_looked_at_often_enough_for_a_peak(steps: int, every: int) -> None:
    assert PolicyPlan().evaluation_interval(steps) == every
    assert PolicyPlan(evaluate_every=7).evaluation_interval(steps) == 7

"""A policy's settings out of the plan: rules, the reward's scale, samples, chances of its own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from app.db import Database
from app.domain.length_limits import LengthLimits
from app.domain.plan import PolicyPlan
from app.domain.reward_parts import PartKind, RewardPart
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Completion, Job, Prompt, TrainingSample
from tests.worker.runs import small
from worker.rlhf.policy import rollout, stopping
from worker.rlhf.reward.normalizer import Normalizer, Scale
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.runs import find
from worker.training import policy

RAW = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))


def test_a_plateau_is_a_reason_to_stop_where_the_plan_has_one() -> None:
    def plateaus(plan: PolicyPlan) -> list[stopping.Rule]:
        rules = policy.stop_rules(plan, LengthLimits())
        return [rule for rule in rules if isinstance(rule, stopping.Plateau)]

    assert plateaus(PolicyPlan()) == []
    assert plateaus(PolicyPlan(plateau=3)) == [stopping.Plateau(3)]


def test_a_policy_takes_the_scale_at_its_own_penalty() -> None:
    fitted = Normalizer.fit(RAW, penalty=0.0)
    assert policy.scale_at(fitted, 1.5) == Normalizer.fit(RAW, penalty=1.5)
    old = Normalizer((Scale(), Scale()))
    with pytest.raises(Invalid, match=r"penalty of 0, without the moments needed for one of 1\.5"):
        policy.scale_at(old, 1.5)


def policy_of(database: Database, folder: Path) -> Checkpoint:
    context = small.claimed(database, folder)
    find("policy")(context)
    with database.reader() as session:
        query = select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY)
        return session.scalars(query).one()


def test_a_learned_reward_that_weighs_nothing_watches(database: Database, tmp_path: Path) -> None:
    longest = RewardPart(PartKind.LENGTH, longest=4)
    reward = replace(
        small.PLAN.reward, weight=0.0, fits_unweighted=True, ensemble=2, parts=(longest,)
    )
    small.up_to(database, tmp_path, "policy", small.plan(reward=reward))
    metrics = policy_of(database, tmp_path).metrics
    assert metrics["reward/normalised"] == pytest.approx(metrics["reward/part/length-1"])
    assert metrics["reward/part/learned"] != 0.0
    assert metrics["reward/disagreement"] > 0.0


def test_samples_are_kept_as_often_as_the_plan_says(database: Database, tmp_path: Path) -> None:
    own = replace(small.PLAN.policy, evaluate_every=1, sample_every=3, epochs=4, max_steps=7)
    small.up_to(database, tmp_path, "policy", small.plan(policy=own))
    policy_of(database, tmp_path)
    with database.reader() as session:
        query = select(TrainingSample).join(Job, Job.id == TrainingSample.job_id)
        samples = session.scalars(query.where(Job.kind == "policy")).all()
        asked = {prompt.messages[0]["content"] for prompt in session.scalars(select(Prompt))}
    steps = {sample.step for sample in samples}
    assert {0, 3, 6} <= steps, "those of the model it starts from come first"
    assert steps <= {0, 3, 6, 7}
    assert {sample.prompt for sample in samples} <= asked, "without the tokens of a template"


def test_candidates_have_other_chances_than_any_step_of_the_policy(
    database: Database, tmp_path: Path
) -> None:
    small.up_to(database, tmp_path, "reward", small.plan(seed=0))
    with database.reader() as session:
        seeds = {
            row.sampling["seed"]
            for row in session.scalars(select(Completion))
            if row.sampling is not None
        }
    steps = {rollout.seeded(SamplingConfig(), 0, step).seed for step in range(100_000)}
    assert seeds
    assert not seeds & steps

"""A round by each algorithm, from each kind of judgment, for each kind of reward."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import select
from transformers import BertConfig, BertForSequenceClassification

from app.db import Database
from app.domain.plan import Algorithm, RewardPlan, RoundPlan, Start
from app.domain.reward_parts import LabelerWeight, PartKind, RewardPart
from app.domain.states import JobState, RoundState
from app.errors import Invalid
from app.models import (
    Checkpoint,
    CheckpointKind,
    Job,
    JudgmentKind,
    Metric,
    Project,
    TrainingSample,
)
from app.services import criteria, rounds
from app.services.criteria import Given
from tests.worker.rlhf import tiny
from tests.worker.runs import small

BATCH = 4


def vowels(text: str) -> float:
    return float(sum(letter in "aeiou" for letter in text.lower()))


def project_of(database: Database, **changes: Any) -> Project:
    with database.transaction() as session:
        return small.make_project(session, **changes)


def run_round(database: Database, project: Project, folder: Path, plan: RoundPlan) -> None:
    with database.transaction() as session:
        rounds.launch(session, session.get_one(Project, project.id), plan, None)
    small.run_jobs(database, folder)
    small.judge(database, project.id, vowels)
    small.run_jobs(database, folder)


def made(database: Database, project: Project, kind: CheckpointKind) -> Checkpoint:
    with database.reader() as session:
        round_ = rounds.of_project(session, project.id)[0]
        assert round_.state in {RoundState.EVALUATING, RoundState.DECIDING}, round_.reason
        query = select(Checkpoint).where(Checkpoint.kind == kind, Checkpoint.round_id == round_.id)
        return session.scalars(query).one()


def with_policy(**changes: Any) -> RoundPlan:
    return small.plan(policy=replace(small.PLAN.policy, **changes))


def with_reward(**changes: Any) -> RoundPlan:
    return small.plan(reward=replace(small.PLAN.reward, **changes))


@pytest.mark.parametrize("algorithm", [Algorithm.RLOO, Algorithm.DPO, Algorithm.BEST_OF_N])
def test_a_round_by_each_algorithm_is_watched_and_keeps_the_best(
    database: Database, tmp_path: Path, algorithm: Algorithm
) -> None:
    project = project_of(database)
    run_round(database, project, tmp_path, with_policy(algorithm=algorithm, samples=2, epochs=1))
    policy = made(database, project, CheckpointKind.POLICY)
    assert policy.config["algorithm"] == algorithm
    assert "all" in policy.metrics["stop_reason"]
    assert "heldout/objective" in policy.metrics
    assert policy.metrics["best_step"] <= policy.metrics["steps"]
    with database.reader() as session:
        job = session.scalars(select(Job).where(Job.kind == "policy")).one()
        assert job.state == JobState.SUCCEEDED
        names = set(session.scalars(select(Metric.name).where(Metric.job_id == job.id)))
        assert {"heldout/reward", "heldout/kl"} <= names
        assert session.scalars(select(TrainingSample).where(TrainingSample.job_id == job.id)).all()
    settings = policy.config["training"]
    wanted = {Algorithm.RLOO: "samples", Algorithm.DPO: "beta", Algorithm.BEST_OF_N: "imitation"}
    assert wanted[algorithm] in settings


def test_best_of_n_goes_on_from_the_policy_in_force(database: Database, tmp_path: Path) -> None:
    project = project_of(database)
    plan = with_policy(algorithm=Algorithm.BEST_OF_N, samples=2, learning_rate=0.02)
    run_round(database, project, tmp_path, plan)
    small.judge(database, project.id, vowels)
    with database.transaction() as session:
        rounds.decide(
            session, rounds.get(session, project.id, 1), promote=True, reason="", actor_id=None
        )
    again = replace(plan, policy=replace(plan.policy, start=Start.LAST))
    run_round(database, project, tmp_path, again)
    policy = made(database, project, CheckpointKind.POLICY)
    with database.reader() as session:
        first = rounds.get(session, project.id, 1).policy_checkpoint_id
    assert policy.config["started_from_id"] == first


def test_ratings_train_a_head_for_each_criterion_and_are_reported(
    database: Database, tmp_path: Path
) -> None:
    project = project_of(database, kind=JudgmentKind.RATE)
    with database.transaction() as session:
        own = session.get_one(Project, project.id)
        wanted = [Given("helpful", weight=2.0), Given("clear", weight=1.0)]
        criteria.arrange(session, own, wanted, actor_id=None)
    run_round(database, project, tmp_path, small.plan(candidates=3))
    reward = made(database, project, CheckpointKind.REWARD)
    fitted = {each["name"]: each["weight"] for each in reward.config["training"]["criteria"]}
    assert fitted == {"helpful": 2.0, "clear": 1.0}
    assert [each["criterion"] for each in reward.metrics["ratings"]] == ["clear", "helpful"]
    assert reward.metrics["heldout"]["pairs"] > 0
    assert reward.metrics["shared_prefix"]["is_exact"] is True


def test_thumbs_train_and_measure_a_reward_model(database: Database, tmp_path: Path) -> None:
    project = project_of(database, kind=JudgmentKind.THUMBS, k=1)
    run_round(database, project, tmp_path, small.plan(candidates=1))
    report = made(database, project, CheckpointKind.REWARD).metrics["heldout"]
    assert report["pairs"] == small.PLAN.heldout_prompts


def test_dpo_from_thumbs_is_refused(database: Database) -> None:
    project = project_of(database, kind=JudgmentKind.THUMBS, k=1)
    with (
        database.transaction() as session,
        pytest.raises(Invalid, match="dpo learns from completions that were compared"),
    ):
        rounds.launch(
            session,
            session.get_one(Project, project.id),
            with_policy(algorithm=Algorithm.DPO),
            None,
        )


def test_a_classifier_and_rules_are_part_of_the_reward(database: Database, tmp_path: Path) -> None:
    parts = (
        RewardPart(PartKind.CLASSIFIER, 0.5, model=str(_classifier(tmp_path)), label="harmless"),
        RewardPart(PartKind.LENGTH, longest=4),
        RewardPart(PartKind.FORMAT, -1.0, pattern="a"),
    )
    project = project_of(database)
    run_round(database, project, tmp_path, with_reward(parts=parts))
    noted = made(database, project, CheckpointKind.REWARD).config["parts"]
    assert [each["kind"] for each in noted] == ["classifier", "length", "format"]
    assert noted[0]["scale"][1] > 0
    metrics = made(database, project, CheckpointKind.POLICY).metrics
    total = (
        metrics["reward/part/learned"]
        + 0.5 * metrics["reward/part/classifier-1"]
        + metrics["reward/part/length-2"]
        - metrics["reward/part/format-3"]
    )
    assert metrics["reward/normalised"] == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        (
            RewardPlan(parts=(RewardPart(PartKind.CLASSIFIER, model="{}", label="kind"),)),
            "no label 'kind'; it has harmless, toxic",
        ),
        (RewardPlan(labelers=(LabelerWeight("L9", 0.5),)), "labeler L9, of whom there is no vote"),
    ],
)
def test_what_is_not_there_is_named_before_anything_is_trained(
    database: Database, tmp_path: Path, reward: RewardPlan, words: str
) -> None:
    folder = str(_classifier(tmp_path))
    parts = tuple(replace(each, model=folder) for each in reward.parts)
    project = project_of(database)
    plan = with_reward(parts=parts, labelers=reward.labelers)
    with pytest.raises((ValueError, Invalid), match=words):
        run_round(database, project, tmp_path, plan)
    with database.reader() as session:
        job = session.scalars(select(Job).where(Job.kind == "reward")).one()
        assert not session.scalars(select(Metric).where(Metric.job_id == job.id)).all()


def _classifier(folder: Path) -> Path:
    path = folder / "classifier"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=259,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=40,
            id2label={0: "harmless", 1: "toxic"},
            pad_token_id=0,
        )
        BertForSequenceClassification(config).save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path

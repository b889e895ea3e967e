"""Rounds whose rewards come from elsewhere: with no judgments, or beside a fitted reward model."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from app.db import Database
from app.domain.reward_parts import CheckpointName, PartKind, RewardPart, ScoreForm
from app.domain.reward_plan import Combination, RewardPlan
from app.domain.states import JobState, RoundState
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Job, Metric, Project, Round, TrainingSample
from app.services.checkpoints import reward_models
from app.services.rounds import evaluations, launch_plans, readiness, rounds
from tests.worker import published
from tests.worker.runs import small
from worker.rlhf.reward import endpoint
from worker.rlhf.reward.endpoint import EndpointConfig, EndpointReward, EndpointUnavailable
from worker.rlhf.reward.texts import Texts
from worker.runs import find
from worker.runs.data import reward_reading
from worker.runs.process import job_process
from worker.runs.process.job_context import JobContext

LENGTH = RewardPart(PartKind.LENGTH, 0.5, name="brevity", longest=4)
SHARE = "reward/share/judged-by-safety"


def safety_first(folder: Path) -> RewardPlan:
    """A published reward model, a classifier that comes first, and a rule; nothing is learned."""
    helpful = published.save(folder / "helpful", seed=1)
    safe = published.save(folder / "safe", ("unsafe", "safe"), seed=2)
    return replace(
        small.PLAN.reward,
        weight=0.0,
        parts=(
            RewardPart(PartKind.REWARD_MODEL, name="helpfulness", model=str(helpful)),
            RewardPart(
                PartKind.CLASSIFIER,
                name="safety",
                model=str(safe),
                label="safe",
                score=ScoreForm.PROBABILITY,
            ),
            LENGTH,
        ),
        combination=Combination.SAFETY_FIRST,
        safety="safety",
        safety_threshold=0.5,
    )


def test_a_round_without_a_learned_reward_needs_no_judgments(
    database: Database, tmp_path: Path
) -> None:
    plan = small.plan(reward=safety_first(tmp_path))
    with database.transaction() as session:
        project = small.make_project(session, labelers=0)
        preview = readiness.preview(session, project, plan, launch_plans.data_of(session, project))
        made = rounds.launch(session, project, plan, None)
    assert (preview.reward, preview.prompts, preview.judgments) == (None, 0, 4)
    assert small.run_jobs(database, tmp_path) == ["sft", "policy", "evaluate"]
    with database.reader() as session:
        round_ = session.get_one(Round, made.id)
        assert round_.state in (RoundState.EVALUATING, RoundState.DECIDING)
        assert round_.reward_checkpoint_id is None
        query = select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY)
        policy = session.scalars(query).one()
        assert [row["name"] for row in policy.config["reward"]["parts"]] == [
            "helpfulness",
            "safety",
            "brevity",
        ]
        names = set(session.scalars(select(Metric.name)))
        sample = session.scalars(select(TrainingSample).join(Job).where(Job.kind == "policy"))
        assert set(sample.first().parts) == {"helpfulness", "safety", "brevity"}  # type: ignore[union-attr]
        evaluation = evaluations.of_round(session, made.id)
        assert evaluation is not None
        scores = evaluation.results["scores"]
        assert scores
        assert evaluation.results["arbiter"] == "the combined reward"
    for part in ("helpfulness", "safety", "brevity"):
        assert {f"reward/part/{part}", f"heldout/part/{part}"} <= names
    assert {SHARE, "reward/share/helpfulness/truncated"} <= names


def test_a_reward_model_of_the_installation_is_a_part_of_another_rounds_reward(
    database: Database, tmp_path: Path
) -> None:
    first = replace(small.PLAN.reward, ensemble=2)
    project_id = small.up_to(database, tmp_path, "policy", small.plan(reward=first))
    other = RewardPart(PartKind.REWARD_MODEL, name="earlier", model="Reward 1")
    with database.transaction() as session:
        project = session.get_one(Project, project_id)
        live = session.scalars(select(Round)).one()
        rounds.cancel(session, live, reason="", actor_id=None)
        plan = small.plan(reward=replace(small.PLAN.reward, weight=0.0, parts=(other,)))
        rounds.launch(session, project, plan, None)
    context = small.claimed(database, tmp_path)
    find("policy")(context)
    with database.reader() as session:
        query = select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY)
        metrics = session.scalars(query).one().metrics
    assert metrics["reward/part/earlier"] == pytest.approx(metrics["reward/normalised"])


def test_a_reward_that_cannot_be_used_fails_the_first_job_and_not_a_later_one(
    database: Database, tmp_path: Path
) -> None:
    endpoint = RewardPart(PartKind.ENDPOINT, url="https://scorer/score")
    plan = small.plan(reward=replace(small.PLAN.reward, parts=(endpoint,)))
    small.up_to(database, tmp_path, "sft", plan)
    with pytest.raises(Invalid, match=r"https://scorer/score .*\(ATTUNE_REWARD_ENDPOINTS: none\)"):
        find("sft")(small.claimed(database, tmp_path))


def test_a_reward_model_is_found_by_name_in_its_project_alone(
    database: Database, tmp_path: Path
) -> None:
    project_id = small.up_to(database, tmp_path, "policy")
    with database.reader() as session:
        project = session.get_one(Project, project_id)
        owned = reward_models.named(session, project_id, CheckpointName("", "Reward 1"))
        same = reward_models.named(session, 0, CheckpointName(project.slug, "Reward 1"))
        assert owned is same
        with pytest.raises(Invalid, match="no reward model 'Reward 2' in this project"):
            reward_models.named(session, project_id, CheckpointName("", "Reward 2"))
    context = small.claimed(database, tmp_path)
    found = reward_reading.sources(context, project).checkpoint(CheckpointName("", "Reward 1"))
    assert found.names == ("reward",)
    assert (found.folder / "reward" / "adapter_config.json").is_file()


def test_a_lost_endpoint_makes_the_job_wait_and_fails_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allowed(_context: JobContext, url: str) -> EndpointConfig:
        return EndpointConfig(url, tries=1)

    def connect(config: EndpointConfig, texts: Texts) -> EndpointReward:
        return EndpointReward(config, texts, httpx.Client(transport=httpx.MockTransport(away)))

    def away(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(503)

    monkeypatch.setattr(reward_reading, "_endpoint", allowed)
    monkeypatch.setattr(endpoint, "connect", connect)
    scorer = RewardPart(PartKind.ENDPOINT, url="https://scorer/score")
    plan = small.plan(reward=replace(small.PLAN.reward, weight=0.0, parts=(scorer,)))
    small.up_to(database, tmp_path, "policy", plan)
    context = small.claimed(database, tmp_path)
    with pytest.raises(EndpointUnavailable):
        job_process.run(context, find)
    with database.reader() as session:
        job = session.get_one(Job, context.job_id)
        assert job.state == JobState.QUEUED
        assert "https://scorer/score failed 1 times; last error: status 503" in job.error

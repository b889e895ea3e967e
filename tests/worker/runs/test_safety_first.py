"""A whole round that learns helpfulness from people, with a safety model that comes first."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.reward_parts import LEARNED, PartKind, RewardPart
from app.domain.reward_plan import Combination, RewardPlan
from app.domain.states import RoundState
from app.models import CheckpointKind, Job, TrainingSample
from app.services.jobs import training_curves
from app.services.project import projects
from app.services.rounds import evaluations, round_progress, rounds
from tests.worker import published
from tests.worker.runs import small
from worker.rlhf.reward.normalizer import Scale
from worker.training import reward_parts

PARTS = (LEARNED, "safety", "brevity")


def rewards(folder: Path) -> RewardPlan:
    """What people prefer, a published model for safety, and a rule."""
    safe = published.save(folder / "safe", seed=5)
    return replace(
        small.PLAN.reward,
        parts=(
            RewardPart(PartKind.REWARD_MODEL, name="safety", model=str(safe)),
            RewardPart(PartKind.LENGTH, 0.5, name="brevity", longest=4),
        ),
        combination=Combination.SAFETY_FIRST,
        safety="safety",
        safety_threshold=0.5,
    )


def test_a_round_with_two_reward_models_and_a_rule_draws_each_apart(
    database: Database, client: TestClient, tmp_path: Path
) -> None:
    with database.transaction() as session:
        project = small.make_project(session)
        made = rounds.launch(session, project, small.plan(reward=rewards(tmp_path)), None)
    ran = small.run_jobs(database, tmp_path)
    small.judge(database, project.id)
    ran += small.run_jobs(database, tmp_path)
    small.judge(database, project.id)
    assert ran == ["sft", "generate", "reward", "policy", "evaluate"]
    with database.reader() as session:
        round_ = round_progress.get(session, project.id, 1)
        assert round_.state == RoundState.DECIDING, round_.reason
        both = round_progress.overview(session, round_).checkpoints
        recorded = {CheckpointKind(each.kind): each.config for each in both}
        assert recorded[CheckpointKind.REWARD]["safety"] == "safety"
        record = recorded[CheckpointKind.POLICY]["reward"]
        assert record == reward_parts.record_of(recorded[CheckpointKind.REWARD])
        policy = small.jobs_of(session, made.id)["policy"]
        decided = _assert_samples_are_combined(session, policy, record)
        assert decided == {True, False}, "safety decided all or nothing, which shows little"
        drawn = _assert_curves_differ(session, policy)
        evaluation = evaluations.of_round(session, made.id)
        assert evaluation is not None
        assert evaluation.results["arbiter"] == "Reward 1"
        slug = projects.get(session, project.id).slug
    _assert_page_draws(client, slug, drawn)


def _assert_samples_are_combined(
    session: Session, policy: Job, record: Mapping[str, object]
) -> set[bool]:
    """Each sample keeps its parts, and they make its score; return whether safety decided."""
    query = select(TrainingSample).where(TrainingSample.job_id == policy.id)
    samples = session.scalars(query).all()
    assert samples
    (safety,) = (row for row in record["parts"] if row["name"] == "safety")  # type: ignore[attr-defined]
    own, choice = Scale(*safety["scale"]), Scale(*record["choice_scale"])  # type: ignore[misc]
    decided = set()
    for sample in samples:
        assert tuple(sample.parts) == ("safety", LEARNED, "brevity")
        logit = sample.parts["safety"] * own.std + own.mean
        is_unsafe = logit < 0.0  # below a probability of one half
        decided.add(is_unsafe)
        chosen = logit if is_unsafe else sample.parts[LEARNED]
        expected = (chosen - choice.mean) / choice.std + 0.5 * sample.parts["brevity"]
        assert sample.score == pytest.approx(expected, abs=1e-4)
    return decided


def _assert_curves_differ(session: Session, policy: Job) -> Mapping[str, tuple[float, ...]]:
    """Each part has a curve of its own, in training and on held-out prompts; return the first."""
    found: dict[str, tuple[float, ...]] = {}
    for place in ("reward", "heldout"):
        names = [f"{place}/part/{part}" for part in PARTS]
        curves = training_curves.of_job(session, policy.id, names)
        values = {name: tuple(value for _, value in curves[name]) for name in names}
        assert len(set(values.values())) == len(PARTS)
        found |= values
    return {part: found[f"reward/part/{part}"] for part in PARTS}


def _assert_page_draws(
    client: TestClient, slug: str, drawn: Mapping[str, tuple[float, ...]]
) -> None:
    """The page of the round has a chart per part, with its own line and its newest value."""
    signed_in = {"email": "owner@example.org", "password": "a long enough password"}
    assert client.post("/sign-in", data=signed_in).status_code == 303
    page = client.get(f"/p/{slug}/rounds/1", headers={"accept": "text/html"}).text
    found = [json.loads(html.unescape(one)) for one in re.findall(r'data-chart="([^"]*)"', page)]
    charts = {one["title"]: one["lines"][0] for one in found}
    titles = [*(f"Reward: {part}" for part in PARTS), "Judged by safety"]
    assert len({tuple(charts[title]["y"]) for title in titles}) == len(titles)
    for part, values in drawn.items():
        assert charts[f"Reward: {part}"]["y"] == pytest.approx(values, rel=1e-6)

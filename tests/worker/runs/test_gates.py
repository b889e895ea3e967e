"""What jobs report to the gates of a round, and what they hold back."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.domain.gate_policies import Gate, GatePolicies, GatePolicy
from app.domain.gates import table
from app.domain.gates.learning import LeftOutFigures, PolicyFigures, RewardFigures
from app.domain.gates.verdicts import Figures
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.errors import Invalid
from app.models import CheckpointKind, Comparison, Completion, Project, Round
from app.services.rounds import gate_decisions, gate_views, gates, round_progress, rounds
from tests.worker.runs import small

STRICT = replace(
    small.PLAN,
    gates=GatePolicies(),
    preflight=replace(small.PLAN.preflight, drop_cut_off=True, spares=2),
)


def launch(database: Database, plan: RoundPlan) -> Project:
    with database.transaction() as session:
        project = small.make_project(session)
        rounds.launch(session, project, plan, None)
        return project


def round_of(database: Database, project: Project) -> Round:
    with database.reader() as session:
        return round_progress.get(session, project.id, 1)


def figures_of(database: Database, project: Project) -> dict[Gate, Figures]:
    with database.reader() as session:
        round_ = round_progress.get(session, project.id, 1)
        plan = RoundPlan.from_json(round_.plan)
        rows = gates.of_round(session, round_.id)
        assert all(gates.verdict_of(row, plan).gate == row.gate for row in rows)
        return {Gate(row.gate): table.read(Gate(row.gate), row.figures) for row in rows}


def test_candidates_that_never_end_stop_a_round_before_spares_are_drawn(
    database: Database, tmp_path: Path
) -> None:
    project = launch(database, STRICT)
    assert small.run_jobs(database, tmp_path) == ["sft", "generate"]
    round_ = round_of(database, project)
    assert round_.state == RoundState.GATED
    with database.transaction() as session:
        drawn = session.scalar(select(func.count(Completion.id)))
        assert drawn == 9 * STRICT.candidates, "no spares"
        assert not session.scalar(select(func.count(Comparison.id)))
        (view,) = gate_views.waiting(session, round_)
        assert view.row.gate == Gate.ENDINGS
        gate_decisions.take(session, round_, Gate.ENDINGS, "keep_cut_off", note="", actor_id=None)
    assert small.run_jobs(database, tmp_path) == ["generate"]
    with database.reader() as session:
        assert round_of(database, project).state == RoundState.LABELING
        assert session.scalar(select(func.count(Comparison.id)))
        kept = select(func.count(Completion.id)).where(Completion.sample_index < 3)
        assert session.scalar(kept) == drawn, "what was sampled is used again"


def test_an_override_lets_the_job_try(database: Database, tmp_path: Path) -> None:
    project = launch(database, replace(STRICT, gates=GatePolicies(preflight=GatePolicy.WARN)))
    small.run_jobs(database, tmp_path)
    with database.transaction() as session:
        round_ = round_progress.get(session, project.id, 1)
        gate_decisions.override(session, round_, Gate.ENDINGS, note="", actor_id=None)
    with pytest.raises(Invalid, match="has nothing to compare: of 45 candidates"):
        small.run_jobs(database, tmp_path)
    with database.reader() as session:
        drawn = session.scalar(select(func.count(Completion.id)))
        assert drawn == 9 * (STRICT.candidates + STRICT.preflight.spares), "this time with spares"


def test_a_round_reports_what_every_gate_goes_by(database: Database, tmp_path: Path) -> None:
    project = launch(database, small.PLAN)
    for _ in range(2):
        small.run_jobs(database, tmp_path)
        small.judge(database, project.id)
    assert round_of(database, project).state == RoundState.DECIDING
    found = figures_of(database, project)
    assert set(found) >= {Gate.PREFLIGHT, Gate.ENDINGS, Gate.LEFT_OUT, Gate.REWARD, Gate.POLICY}
    reward, policy = found[Gate.REWARD], found[Gate.POLICY]
    assert isinstance(reward, RewardFigures)
    assert isinstance(policy, PolicyFigures)
    with database.reader() as session:
        overview = round_progress.overview(session, round_of(database, project))
    made = {each.kind: each for each in overview.checkpoints}
    people = made[CheckpointKind.REWARD].metrics["people"]
    assert reward.accuracy == people["accuracy_on_votes"]["value"]
    assert reward.length_rule == people["length_rule"]
    assert reward.length_accuracy == people["length_accuracy"] is not None
    assert policy.steps == made[CheckpointKind.POLICY].metrics["steps"]
    assert policy.best_step == made[CheckpointKind.POLICY].metrics["best_step"]
    card = (tmp_path / "artifacts" / made[CheckpointKind.POLICY].uri / "README.md").read_text()
    raised = [row for row in found.values() if row.verdict(small.PLAN).fires]
    assert raised, "a model of this size passes no gate on learning"
    assert any(figures.verdict(small.PLAN).reason in card for figures in raised)


def test_comparisons_that_are_too_long_stop_the_reward_model(
    database: Database, tmp_path: Path
) -> None:
    plan = replace(
        small.PLAN, gates=GatePolicies(), reward=replace(small.PLAN.reward, max_tokens=8)
    )
    project = launch(database, plan)
    small.run_jobs(database, tmp_path)
    small.judge(database, project.id)
    assert small.run_jobs(database, tmp_path) == ["reward"]
    round_ = round_of(database, project)
    assert round_.state == RoundState.GATED
    found = figures_of(database, project)[Gate.LEFT_OUT]
    assert isinstance(found, LeftOutFigures)
    assert found.too_long == found.total > 0
    assert found.enough is not None
    with database.transaction() as session:
        assert round_.reward_checkpoint_id is None, "nothing was trained in vain"
        gate_decisions.take(session, round_, Gate.LEFT_OUT, "limit", note="", actor_id=None)
    small.run_jobs(database, tmp_path)
    assert round_of(database, project).reward_checkpoint_id is not None

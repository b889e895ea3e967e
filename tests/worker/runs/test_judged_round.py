"""A whole round that an AI judge labels and decides: no person is asked anything."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import func, select

from app.db import Database
from app.domain.judged_by import JudgedBy
from app.domain.judges.servers import AllowedServer
from app.domain.next_action import NextAction
from app.domain.states import RoundState
from app.models import (
    AiJudgment,
    Checkpoint,
    CheckpointKind,
    Comparison,
    Export,
    ExportAiJudgment,
    Judgment,
    Round,
)
from app.services.jobs import job_leases
from app.services.judging import judges
from app.services.rounds import evaluations, next_step, round_progress, rounds
from tests import judge_server
from tests.worker.runs import judged, small
from worker.runs import find


def run_jobs(database: Database, folder: Path, server: AllowedServer) -> list[str]:
    ran: list[str] = []
    while True:
        with database.transaction() as session:
            claimed = job_leases.claim(session, "here", ["gpu", "cpu"], lease_s=600)
        if claimed is None:
            return ran
        context = small.context_of(database, claimed, folder)
        context.judges = (server,)
        find(claimed.kind)(context)
        ran.append(claimed.kind)


def test_a_round_is_labeled_and_decided_by_a_judge(database: Database, tmp_path: Path) -> None:
    plan = replace(
        small.PLAN,
        judge="J1",
        reward=replace(small.PLAN.reward, judged_by=JudgedBy.AI),
        policy=replace(small.PLAN.policy, learning_rate=0.01),
        evaluation=replace(small.PLAN.evaluation, judge="J1"),
    )
    with judge_server.serving() as server:
        with database.transaction() as session:
            project = small.make_project(session)
            judge = judged.make_judge(session, project, server.url)
            judges.let_alone(session, judge, "a test", actor_id=None)
            round_id = rounds.launch(session, project, plan, None).id
        kinds = run_jobs(database, tmp_path, AllowedServer(server.url))
    assert kinds == ["sft", "generate", "judge", "reward", "policy", "evaluate", "judge"]
    with database.reader() as session:
        round_ = session.get_one(Round, round_id)
        assert round_.state == RoundState.DECIDING
        assert session.scalar(select(func.count(Judgment.id))) == 0
        waiting = select(func.count(Comparison.id)).where(Comparison.open_slots > 0)
        assert session.scalar(waiting) == 0
        reward = session.scalars(
            select(Checkpoint).where(Checkpoint.kind == CheckpointKind.REWARD)
        ).one()
        assert reward.metrics["ai_votes"] > 0
        assert reward.metrics["votes"] == 0
        export = session.scalars(select(Export)).one()
        assert export.manifest["filter"]["judged_by"] == "ai"
        linked = session.scalar(select(func.count()).select_from(ExportAiJudgment))
        assert linked == export.manifest["counts"]["judgments"]["exported"] > 0
        evaluation = evaluations.of_round(session, round_id)
        assert evaluation is not None
        found = evaluations.results(session, evaluation)
        assert found.decided_by == "Tiny (J1)"
        assert found.judged or found.tally.identical
        overview = round_progress.overview(session, round_)
        step = next_step.what_next(session, session.get_one(type(project), project.id), overview)
        assert step.action is NextAction.DECIDE
        assert session.scalar(select(func.count(AiJudgment.id)))


def test_a_judge_that_fails_fails_the_round_which_can_be_retried(
    database: Database, tmp_path: Path
) -> None:
    plan = replace(small.PLAN, judge="J1", reward=replace(small.PLAN.reward, judged_by=JudgedBy.AI))
    with database.transaction() as session:
        project = small.make_project(session)
        judge = judged.make_judge(session, project, "http://127.0.0.1:9/v1")
        judges.let_alone(session, judge, "a test", actor_id=None)
        round_id = rounds.launch(session, project, plan, None).id
    small.run_jobs(database, tmp_path, lambda claimed: claimed.kind == "judge")
    context = small.claimed(database, tmp_path)
    context.fail("the key was refused", is_transient=False)
    with database.transaction() as session:
        round_ = session.get_one(Round, round_id)
        assert round_.state == RoundState.FAILED
        assert "the key was refused" in round_.reason
        rounds.retry(session, round_, actor_id=None)
        states = {round_.state for round_ in session.scalars(select(Round))}
    assert states == {RoundState.LABELING}

"""Judges of evaluations: beside people and in their place, whole, once, and by the right name."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import func, select

from app.db import Database, now
from app.domain.judges.servers import AllowedServer
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import RoundState
from app.errors import Conflict, Invalid
from app.models import (
    AiJudgment,
    AiOutcome,
    Evaluation,
    Judge,
    Judgment,
    Round,
)
from app.services.judging import ai_judgments, judges
from app.services.judging.ai_judgments import AskedComparison
from app.services.rounds import evaluation_judges, evaluations, judge_jobs
from tests import judge_server
from tests.judge_server import JudgeServer
from tests.services import sample
from tests.worker.runs import judged
from worker.runs import judge as judge_run


@pytest.fixture
def served() -> Iterator[JudgeServer]:
    with judge_server.serving() as server:
        yield server


def test_an_evaluation_is_decided_by_a_judge_and_says_so(
    any_database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        evaluation = judged.make_evaluation(session, project, 6)
        judge = judged.make_judge(session, project, served.url, name="Strict")
        with pytest.raises(Conflict, match="needed before it judges alone"):
            judge_jobs.decide(session, judge, evaluation, actor_id=None)
        judges.let_alone(session, judge, "a test", actor_id=None)
        judge_jobs.decide(session, judge, evaluation, actor_id=None)
        assert evaluations.is_judged(session, evaluation.id), "people are asked no more"
        evaluation_id = evaluation.id
    judged.run(any_database, tmp_path, AllowedServer(served.url))
    with any_database.transaction() as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        found = evaluations.results(session, evaluation)
        assert (found.share, found.tally.wins) == (1.0, 6)
        assert found.decided_by == "Strict (J1)"
        assert evaluation.state == evaluations.COMPLETE
        assert evaluation.results["summary"]["decided_by"] == "Strict (J1)"
        (opinion,) = evaluation_judges.of_evaluation(session, evaluation)
        assert opinion.decides
        assert opinion.results.low is not None
        explained = evaluation_judges.explanations(session, evaluation)
        assert {one.verdict for each in explained.values() for one in each} == {"new"}
        assert session.scalar(select(func.count(Judgment.id))) == 0


def test_a_second_opinion_leaves_the_decision_to_people(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    with database.transaction() as session:
        project = sample.make_project(session)
        evaluation = judged.make_evaluation(session, project, 4)
        judge = judged.make_judge(session, project, served.url)
        judge_jobs.evaluate(session, judge, evaluation, actor_id=None)
        evaluation_id = evaluation.id
    judged.run(database, tmp_path, AllowedServer(served.url))
    with database.reader() as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        found = evaluations.results(session, evaluation)
        assert (found.share, found.decided_by) == (None, "")
        (opinion,) = evaluation_judges.of_evaluation(session, evaluation)
        assert (opinion.results.share, opinion.decides) == (1.0, False)
        assert opinion.measures.agreement.value != 1.0


def test_a_judge_decides_by_what_it_said_beside_people_too(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    with database.transaction() as session:
        project = sample.make_project(session)
        evaluation = judged.make_evaluation(session, project, 3)
        judge = judged.make_judge(session, project, served.url)
        judges.let_alone(session, judge, "a test", actor_id=None)
        judge_jobs.evaluate(session, judge, evaluation, actor_id=None)
        ids = judge.id, evaluation.id
    judged.run(database, tmp_path, AllowedServer(served.url))
    asked = len(served.requests)
    with database.transaction() as session:
        judge, evaluation = session.get_one(Judge, ids[0]), session.get_one(Evaluation, ids[1])
        with pytest.raises(Invalid, match="has no comparison that J1 has not judged"):
            judge_jobs.evaluate(session, judge, evaluation, actor_id=None)
        judge_jobs.decide(session, judge, evaluation, actor_id=None)
    judged.run(database, tmp_path, AllowedServer(served.url))
    with database.reader() as session:
        evaluation = session.get_one(Evaluation, ids[1])
        assert evaluation.state == evaluations.COMPLETE
        assert evaluations.results(session, evaluation).tally.wins == 3
    assert len(served.requests) == asked


def test_an_evaluation_outlives_the_round_that_was_cancelled(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    with database.transaction() as session:
        project = sample.make_project(session)
        evaluation = judged.make_evaluation(session, project, 2)
        round_ = Round(
            project_id=project.id,
            number=1,
            state=RoundState.CANCELLED,
            plan={},
            created_at=now(session),
        )
        session.add(round_)
        session.flush()
        evaluation.round_id = round_.id
        judge = judged.make_judge(session, project, served.url)
        judges.let_alone(session, judge, "a test", actor_id=None)
        judge_jobs.decide(session, judge, evaluation, actor_id=None)
        evaluation_id = evaluation.id
    judged.run(database, tmp_path, AllowedServer(served.url))
    with database.reader() as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        assert evaluation.state == evaluations.COMPLETE


def test_an_evaluation_is_judged_whole_whatever_a_person_can_ask_for_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_jobs, "MOST", 2)
    with database.transaction() as session:
        project = sample.make_project(session)
        evaluation = judged.make_evaluation(session, project, 4)
        judge = judged.make_judge(session, project, judged.SERVER)
        judges.let_alone(session, judge, "a test", actor_id=None)
        job = judge_jobs.decide(session, judge, evaluation, actor_id=None)
        assert len(job.payload["comparison_ids"]) == 4
        with pytest.raises(Invalid, match="1 to 2 comparisons at once, not 3"):
            judge_jobs.label(session, judge, 3, actor_id=None)


def test_the_jobs_of_a_judge_are_found_among_many_of_another(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        (comparison,) = judged.make_comparisons(session, project, 1)
        quiet, busy = (
            judged.make_judge(session, project, judged.SERVER, name=name)
            for name in ("Quiet", "Busy")
        )
        own = judge_jobs.try_one(session, quiet, comparison.id, actor_id=None)
        for _ in range(3):
            judge_jobs.try_one(session, busy, comparison.id, actor_id=None)
        assert [job.id for job in judge_jobs.of_judge(session, quiet, limit=1)] == [own.id]
        assert len(judge_jobs.of_judge(session, busy, limit=2)) == 2


def test_a_pseudonym_is_not_taken_for_the_name_of_another_judge(database: Database) -> None:
    with database.transaction() as session:
        project = sample.make_project(session)
        first, second = (
            judged.make_judge(session, project, judged.SERVER, name=name) for name in ("J2", "Kind")
        )
        assert judges.named(session, project.id, "J2") is second
        assert judges.named(session, project.id, "J1") is first
        assert judges.named(session, project.id, "Kind") is second


def test_two_jobs_of_a_judge_may_record_the_same_comparison_at_once(
    any_database: Database,
) -> None:
    with any_database.transaction() as session:
        project = sample.make_project(session)
        (comparison,) = judged.make_comparisons(session, project, 1)
        judge_id = judged.make_judge(session, project, judged.SERVER).id
        asked = unread(comparison.id)
    second = Thread(target=lambda: record(any_database, judge_id, asked))
    with any_database.transaction() as session:
        judge = judge_run.held(session, judge_id)
        ai_judgments.record(session, judge, None, asked)
        second.start()
        second.join(0.2)  # it waits, or has not begun
    second.join()
    with any_database.reader() as session:
        assert session.scalars(select(AiJudgment.requests)).all() == [2]


def unread(comparison_id: int) -> AskedComparison:
    return AskedComparison(
        comparison_id,
        JudgmentKind.PICK,
        AiOutcome.MALFORMED,
        None,
        orders=[],
        requests=1,
        tokens_in=None,
        tokens_out=None,
        cost=None,
        guidelines_version=1,
        instruction_version=1,
    )


def record(database: Database, judge_id: int, asked: AskedComparison) -> None:
    with database.transaction() as session:
        ai_judgments.record(session, judge_run.held(session, judge_id), None, asked)

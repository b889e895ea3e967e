"""The job of an AI judge: what it records, how it stops and resumes, and what it never touches."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.domain.judged_by import JudgedBy
from app.domain.judges import measures
from app.domain.judges.servers import AllowedServer
from app.domain.judges.setup import JudgeLimits
from app.domain.judgment_kinds import JudgmentKind
from app.domain.measures import Interval
from app.errors import Conflict, Invalid, Unavailable
from app.formats.manifest import Counts
from app.models import (
    AiJudgment,
    AiOutcome,
    AuditEvent,
    Comparison,
    Judge,
    Judgment,
    Project,
)
from app.services.datasets import judged_comparisons, preferences
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.jobs import jobs
from app.services.judging import ai_judgments, judges
from app.services.quality import agreement, judge_quality, labeler_quality
from app.services.rounds import judge_jobs
from tests import judge_server
from tests.judge_server import Failure, JudgeServer
from tests.services import sample
from tests.worker.runs import judged, small
from worker.orders import Interrupted, Orders
from worker.runs import judge as judge_run


@pytest.fixture
def served() -> Iterator[JudgeServer]:
    with judge_server.serving() as server:
        yield server


def set_up(
    database: Database,
    url: str,
    *,
    comparisons: int,
    judgments: int = 0,
    limits: JudgeLimits = judged.LIMITS,
) -> tuple[int, int]:
    """Make a project with comparisons, some judged by two people, and a judge; return their ids."""
    with database.transaction() as session:
        project = sample.make_project(session, overlap=2)
        judged.make_comparisons(session, project, comparisons)
        labelers = sample.make_labelers(session, project, 2)
        judged.judge_by_people(session, project, labelers, judgments)
        return project.id, judged.make_judge(session, project, url, limits=limits).id


def compare(database: Database, judge_id: int, count: int) -> int:
    with database.transaction() as session:
        judge = session.get_one(Judge, judge_id)
        return judge_jobs.compare(session, judge, count, actor_id=None).id


def test_a_judge_is_compared_with_people_and_its_cost_is_known(
    any_database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    served.taste = lambda _prompt, text: -float(text.split(".")[1])
    project_id, judge_id = set_up(any_database, served.url, comparisons=6, judgments=8)
    compare(any_database, judge_id, 3)
    result = judged.run(any_database, tmp_path, AllowedServer(served.url))
    assert (result["judged"], result["left"], result["requests"]) == (3, 0, 6)
    with any_database.reader() as session:
        judge = session.get_one(Judge, judge_id)
        rows = session.scalars(select(AiJudgment)).all()
        totals = ai_judgments.totals(session, project_id)[judge_id]
        found = judge_quality.of_judge(session, judge)
        assert all(len(row.orders) == 2 for row in rows)
        assert {row.orders[0]["explanation"] for row in rows} == {"By taste."}
        assert {(row.guidelines_version, row.instruction_version) for row in rows} == {(1, 1)}
    assert found.compared == 3
    assert found.consistency.value == 1.0
    assert totals.tokens_in == result["tokens_in"] > 0
    assert totals.cost == pytest.approx((totals.tokens_in + 10 * totals.tokens_out) / 1e6)
    assert totals.cost_per_hundred == pytest.approx(totals.cost / 3 * 100)


def test_nothing_about_people_changes_when_a_judge_judges(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    project_id, judge_id = set_up(database, served.url, comparisons=6, judgments=9)

    def figures() -> tuple[object, ...]:
        with database.reader() as session:
            slots = session.execute(
                select(Comparison.id, Comparison.open_slots, Comparison.done_slots).order_by(
                    Comparison.id
                )
            ).all()
            quality = [
                (one.user_id, one.judgments, one.longer)
                for one in labeler_quality.of_project(session, project_id)
            ]
            return (
                agreement.summary(session, project_id),
                agreement.of_labelers(session, project_id),
                quality,
                [tuple(row) for row in slots],
                session.scalar(select(func.count(Judgment.id))),
            )

    before = figures()
    compare(database, judge_id, 3)
    assert judged.run(database, tmp_path, AllowedServer(served.url))["judged"] == 3
    with database.transaction() as session:
        judge = session.get_one(Judge, judge_id)
        judges.let_alone(session, judge, "a test", actor_id=None)
        judge_jobs.label(session, judge, 6, actor_id=None)
    assert judged.run(database, tmp_path, AllowedServer(served.url))["judged"] > 0
    assert figures() == before


@pytest.mark.parametrize(
    ("judged_by", "labelers", "excluded"),
    [
        (JudgedBy.HUMAN, {"L"}, {judged_comparisons.BY_AI: 4}),
        (JudgedBy.AI, {"a"}, {judged_comparisons.BY_PERSON: 8}),
        (JudgedBy.BOTH, {"L", "a"}, {}),
    ],
)
def test_exports_hold_whose_judgments_they_say(
    any_database: Database,
    tmp_path: Path,
    served: JudgeServer,
    judged_by: JudgedBy,
    labelers: set[str],
    excluded: dict[str, int],
) -> None:
    project_id, judge_id = set_up(any_database, served.url, comparisons=4, judgments=8)
    compare(any_database, judge_id, 4)
    judged.run(any_database, tmp_path, AllowedServer(served.url))
    counts = Counts()
    with any_database.reader() as session:
        options = ExportOptions(judged_by=judged_by)
        page = preferences.read_page(session, project_id, options, counts)
    assert counts.judgments.considered == 12
    assert dict(counts.judgments.excluded) == excluded
    votes = [vote for row in page.rows for vote in row.votes]
    assert {vote.labeler[0] for vote in votes} == labelers
    assert all(vote.is_ai == vote.labeler.startswith("ai:J1") for vote in votes)
    for row in page.rows:
        assert not any(v.judgment_id < 0 for v in judged_comparisons.plain_votes(row))
        of_ai = judged_comparisons.plain_votes(row, of_ai=True)
        assert len(of_ai) == (1 if judged_by.has_judges else 0)


def test_what_cannot_be_read_or_is_refused_is_counted_with_its_reason_and_asked_again(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    replies = iter(["Hm.", "Hm."])
    served.spell = lambda text: next(replies, text)
    served.failures = [Failure(400, body="too long")]
    project_id, judge_id = set_up(
        database, served.url, comparisons=4, judgments=8, limits=JudgeLimits(concurrency=1)
    )
    job_id = compare(database, judge_id, 4)
    result = judged.run(database, tmp_path, AllowedServer(served.url))
    assert (result["judged"], result["malformed"], result["refused"]) == (2, 1, 1)
    assert any("too long" in problem for problem in result["problems"])
    assert any("no JSON object" in problem for problem in result["problems"])
    with database.reader() as session:
        failed = ai_judgments.newest(session, judge_id, limit=9, failed=True)
        assert {row.outcome for row in failed} == {AiOutcome.MALFORMED, AiOutcome.REFUSED}
        assert all(row.error and row.ranking is None for row in failed)
        assert all(row.cost is None for row in failed), "nothing is known without prices"
    assert compare(database, judge_id, 4) > job_id
    assert judged.run(database, tmp_path, AllowedServer(served.url))["judged"] == 2
    with database.reader() as session:
        totals = ai_judgments.totals(session, project_id)[judge_id]
    assert (totals.judged, totals.malformed, totals.refused) == (4, 0, 0)


def test_a_server_that_refuses_everything_ends_the_job(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    _, judge_id = set_up(database, served.url, comparisons=12, judgments=24)
    served.failures = [Failure(400, body="no such model")] * 99
    compare(database, judge_id, 12)
    with pytest.raises(Invalid, match=r"refused 10 comparisons .*no such model"):
        judged.run(database, tmp_path, AllowedServer(served.url))


def test_an_attempt_that_resumes_asks_only_about_what_is_left(
    database: Database, tmp_path: Path, served: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, judge_id = set_up(
        database, served.url, comparisons=5, judgments=10, limits=JudgeLimits(concurrency=1)
    )
    job_id = compare(database, judge_id, 5)
    orders = Orders()
    recorded = ai_judgments.record

    def record_two(*arguments: object) -> None:
        recorded(*arguments)  # type: ignore[arg-type]
        if len(served.requests) >= 4:
            orders.give("preempt")

    monkeypatch.setattr(ai_judgments, "record", record_two)
    with pytest.raises(Interrupted):
        judged.run(database, tmp_path, AllowedServer(served.url), orders=orders)
    monkeypatch.undo()
    with database.transaction() as session:
        job = jobs.get(session, job_id)
        job.state, job.lease_expires_at = "queued", None  # type: ignore[assignment]
        done = session.scalar(select(func.count(AiJudgment.id))) or 0
    assert 2 <= done < 5
    asked = len(served.requests)
    result = judged.run(database, tmp_path, AllowedServer(served.url))
    assert (result["before"], result["judged"]) == (done, 5 - done)
    assert len(served.requests) == asked + 2 * (5 - done)


def test_the_budget_stops_a_judge_and_says_what_is_left(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    limits = JudgeLimits(concurrency=1, price_in=1e6, price_out=1e6, budget=1.0)
    _, judge_id = set_up(database, served.url, comparisons=4, judgments=8, limits=limits)
    compare(database, judge_id, 4)
    result = judged.run(database, tmp_path, AllowedServer(served.url))
    assert (result["judged"], result["left"]) == (1, 3)
    assert result["stopped"] == "the budget of 1 USD is used up"


def test_a_busy_server_returns_the_job_to_the_queue_and_the_key_comes_from_the_environment(
    database: Database,
    tmp_path: Path,
    served: JudgeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, judge_id = set_up(database, served.url, comparisons=1, judgments=2)
    compare(database, judge_id, 1)
    context = small.claimed(database, tmp_path)
    with pytest.raises(Invalid, match=r"is not among those that AI judges may use.*none"):
        judge_run.run(context)
    context.judges = (AllowedServer(served.url, "JUDGE_TEST_KEY"),)
    with pytest.raises(Invalid, match="JUDGE_TEST_KEY, which is not set for this worker"):
        judge_run.run(context)
    monkeypatch.setenv("JUDGE_TEST_KEY", "s3cret")
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    monkeypatch.setattr("worker.judging.chat_server.MAX_WAIT_S", 0.0)
    served.failures = [Failure(503)] * 6
    with pytest.raises(Unavailable, match="failed 6 times; last error: status 503"):
        judge_run.run(context)
    judge_run.run(context)
    assert served.keys == {"Bearer s3cret"}
    with database.reader() as session:
        kept = [job.result for job in jobs.page(session).rows]
        kept += [event.details for event in session.scalars(select(AuditEvent))]
        kept += [judge.setup for judge in session.scalars(select(Judge))]
    assert "s3cret" not in repr(kept)


def test_a_trial_is_shown_and_not_stored(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    project_id, judge_id = set_up(database, served.url, comparisons=1)
    with database.transaction() as session:
        judge = session.get_one(Judge, judge_id)
        comparison_id = session.scalars(select(Comparison.id)).one()
        judge_jobs.try_one(session, judge, comparison_id, actor_id=None)
    result = judged.run(database, tmp_path, AllowedServer(served.url))
    assert result["outcome"] == "judged"
    assert "# Guidelines\n\nBe kind." in result["messages"][0][1]
    assert result["cost"] > 0
    with database.reader() as session:
        assert ai_judgments.totals(session, project_id) == {}


def test_a_judge_labels_alone_after_a_comparison_or_with_a_reason_on_record(
    database: Database, tmp_path: Path, served: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_quality, "LEAST_COMPARED", 3)
    _, judge_id = set_up(database, served.url, comparisons=5, judgments=4)
    with database.transaction() as session:
        judge = session.get_one(Judge, judge_id)
        with pytest.raises(Conflict, match="compared with people on 0 of the 3"):
            judge_jobs.label(session, judge, 5, actor_id=None)
        with pytest.raises(Invalid, match="a reason of 1 to 1,000"):
            judges.let_alone(session, judge, " ", actor_id=None)
    compare(database, judge_id, 3)
    result = judged.run(database, tmp_path, AllowedServer(served.url))
    with database.transaction() as session:
        judge = session.get_one(Judge, judge_id)
        reason = judge_quality.why_not_alone(session, judge)
        assert bool(reason) == (result["judged"] < 3)
        judges.let_alone(session, judge, "people label the next round", actor_id=None)
        judge_jobs.label(session, judge, 5, actor_id=None)
        (event,) = session.scalars(
            select(AuditEvent).where(AuditEvent.action == "judge.let_alone")
        ).all()
        assert event.details["reason"] == "people label the next round"
    assert judged.run(database, tmp_path, AllowedServer(served.url))["judged"] > 0


def test_rankings_are_judged_too_and_texts_are_left_to_people(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    with database.transaction() as session:
        project = sample.make_project(session, judgment_kind=JudgmentKind.RANK, k=3)
        (comparison,) = judged.make_comparisons(session, project, 1)
        judge = judged.make_judge(session, project, served.url)
        judges.let_alone(session, judge, "a test", actor_id=None)
        judge_jobs.label(session, judge, 1, actor_id=None)
        edited = sample.make_project(session, judgment_kind=JudgmentKind.EDIT, k=1)
        (other,) = judged.make_comparisons(session, edited, 1)
        with pytest.raises(Invalid, match="kind edit are left to people"):
            judge_jobs.try_one(
                session, judged.make_judge(session, edited, served.url), other.id, actor_id=None
            )
        texts = sample.texts_of(session, comparison.id)
    served.taste = lambda _prompt, text: float(texts.index(text))
    judged.run(database, tmp_path, AllowedServer(served.url))
    with database.reader() as session:
        row = session.scalars(select(AiJudgment)).one()
    assert (row.ranking, row.is_consistent) == ([3, 2, 1], True)


def test_agreement_has_an_interval_once_prompts_differ(
    database: Database, tmp_path: Path, served: JudgeServer
) -> None:
    served.taste = lambda prompt, text: float(hash_of(prompt + text))
    _, judge_id = set_up(database, served.url, comparisons=12, judgments=24)
    compare(database, judge_id, 12)
    judged.run(database, tmp_path, AllowedServer(served.url))
    with database.reader() as session:
        found = judge_quality.of_judge(session, session.get_one(Judge, judge_id))
        assert session.scalars(select(Project)).one()
    assert isinstance(found.agreement.interval, Interval)
    assert 0 < found.agreement.interval.low < found.agreement.interval.high < 1
    assert found.compared < measures.LEAST_COMPARED


def hash_of(text: str) -> int:
    return sum(ord(letter) * (place + 7) for place, letter in enumerate(text)) % 101

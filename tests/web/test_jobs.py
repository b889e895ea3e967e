import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app import queue as broker
from app.db import Database, now
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import JobState
from app.models import AuditEvent, Project, Role, User
from app.services.jobs import (
    backups_taken,
    job_helpers,
    job_leases,
    job_reports,
    jobs,
    shards,
    workers,
)
from app.services.people import accounts
from app.services.project import projects
from tests.services.jobs.test_jobs import claim, enqueue, read

SignIn = Callable[..., TestClient]


@pytest.fixture
def admin(sign_in: SignIn) -> TestClient:
    return sign_in("admin", is_admin=True)


@pytest.fixture
def lead(sign_in: SignIn) -> TestClient:
    return sign_in("lead")


def make_project(database: Database, name: str, owner: str) -> Project:
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == owner)).one()
        return projects.create(session, name=name, owner=user, judgment_kind=JudgmentKind.PICK)


def test_the_list_shows_jobs_queues_and_workers(admin: TestClient, database: Database) -> None:
    job_id = enqueue(database, kind="reward")
    text = admin.get("/jobs").text
    assert f'/jobs/{job_id}"' in text
    assert "no worker serves" in text
    with database.transaction() as session:
        described = workers.Description("host-1", ("gpu", "cpu"), "CPU, 2 cores", "0.1.0")
        workers.seen(session, described, job_id=None)
    text = admin.get("/jobs").text
    assert "host-1" in text
    assert "no worker serves" not in text


def test_the_list_can_be_narrowed_to_a_state(admin: TestClient, database: Database) -> None:
    job_id = enqueue(database, kind="reward")
    assert f'/jobs/{job_id}"' not in admin.get("/jobs?state=failed").text
    assert f'/jobs/{job_id}"' in admin.get("/jobs?state=queued").text


def test_a_live_fragment_is_a_fragment_and_says_when_it_is_done(
    admin: TestClient, database: Database
) -> None:
    job_id = enqueue(database)
    running = admin.get(f"/jobs/{job_id}/live").text
    assert "<html" not in running
    assert "data-done" not in running
    admin.post(f"/jobs/{job_id}/cancel")
    assert "data-done" in admin.get(f"/jobs/{job_id}/live").text
    assert "<html" not in admin.get("/jobs/live").text


def test_buttons_do_what_they_say_and_are_audited(admin: TestClient, database: Database) -> None:
    job_id = enqueue(database)
    answer = admin.post(f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    assert read(database, job_id).state == JobState.CANCELLED
    assert admin.post(f"/jobs/{job_id}/retry").status_code == 303
    assert read(database, job_id).state == JobState.QUEUED
    claim(database)
    assert admin.post(f"/jobs/{job_id}/stop").status_code == 303
    assert read(database, job_id).stop_requested
    assert admin.post(f"/jobs/{job_id}/retry").status_code == 409
    with database.reader() as session:
        actions = session.scalars(
            select(AuditEvent.action)
            .where(AuditEvent.subject == f"job {job_id}")
            .order_by(AuditEvent.id)
        ).all()
    assert actions == ["job.cancel", "job.retry", "job.stop"]


def test_a_log_is_shown_as_text(admin: TestClient, database: Database) -> None:
    job_id = enqueue(database)
    claimed = claim(database)
    log = "<script>alert(1)</script>\N{RIGHT-TO-LEFT OVERRIDE}"
    with database.transaction() as session:
        job_leases.record_log(session, job_id, claimed.lease_token, log)
    text = admin.get(f"/jobs/{job_id}").text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert(1)" not in text
    assert "⟨U+202E⟩" in text


def test_a_lead_sees_and_stops_jobs_of_the_project_only(
    lead: TestClient, sign_in: SignIn, database: Database
) -> None:
    sign_in("other")
    own, other = make_project(database, "own", "lead"), make_project(database, "other", "other")
    mine = enqueue(database, project_id=own.id)
    theirs = enqueue(database, project_id=other.id)
    assert lead.get(f"/p/own/jobs/{mine}").status_code == 200
    assert lead.get(f"/p/own/jobs/{theirs}").status_code == 404
    assert lead.post(f"/p/own/jobs/{theirs}/cancel").status_code == 404
    assert lead.post(f"/api/v1/projects/own/jobs/{theirs}/cancel").status_code == 404
    assert lead.get("/jobs").status_code == 403
    assert [job["id"] for job in lead.get("/api/v1/projects/own/jobs").json()] == [mine]
    assert lead.post(f"/p/own/jobs/{mine}/cancel").status_code == 303
    assert read(database, theirs).state == JobState.QUEUED


def test_a_labeler_sees_no_jobs(lead: TestClient, sign_in: SignIn, database: Database) -> None:
    project = make_project(database, "own", "lead")
    labeler = sign_in("labeler")
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == "labeler")).one()
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
    job_id = enqueue(database, project_id=project.id)
    assert labeler.get(f"/p/own/jobs/{job_id}").status_code == 403


def test_curves_and_samples_come_in_order(lead: TestClient, database: Database) -> None:
    project = make_project(database, "own", "lead")
    job_id = enqueue(database, project_id=project.id)
    key = (job_id, claim(database).lease_token)
    points = [job_reports.Scalar(step, "loss", 1 / step) for step in (4, 2, 1)]
    with database.transaction() as session:
        job_reports.record_metrics(session, *key, points)
        sample = job_reports.StepSample(4, 0, "Why?", "Because.", 0.5)
        job_reports.record_samples(session, *key, [sample])
    base = f"/api/v1/projects/own/jobs/{job_id}"
    assert lead.get(f"{base}/metrics?after_step=1").json() == [
        {"name": "loss", "steps": [2, 4], "values": [0.5, 0.25]}
    ]
    assert lead.get(f"{base}/samples").json()[0]["completion"] == "Because."


def test_an_administrator_works_through_the_interface(
    admin: TestClient, database: Database
) -> None:
    job_id = enqueue(database)
    assert admin.get("/api/v1/jobs").json()[0]["id"] == job_id
    assert admin.post(f"/api/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert admin.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 409
    assert admin.get("/api/v1/jobs/999").status_code == 404


def test_health_answers_anybody(client: TestClient, database: Database) -> None:
    enqueue(database, queue="gpu")
    assert client.get("/livez").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["is_ready"]) == (200, True)
    lines = client.get("/metrics").text.splitlines()
    assert 'attune_jobs_waiting{queue="gpu"} 1' in lines
    assert 'attune_jobs{state="queued"} 1' in lines
    assert "attune_fenced_writes 0" in lines
    assert "# TYPE attune_job_deaths counter" in lines


def test_an_old_backup_is_told_where_administrators_and_machines_look(
    admin: TestClient, database: Database
) -> None:
    def said() -> tuple[str, str]:
        check = admin.get("/readyz").json()["checks"]["backup"]
        return check["state"], check["message"]

    assert said()[0] == "ok"
    with database.transaction() as session:
        long_ago = now(session) - timedelta(days=3, minutes=1)
        backups_taken.note(session, taken_at=long_ago, name="a.backup", has_artifacts=True)
    assert said()[0] == "degraded"
    assert said()[1].startswith("the newest is 3 days old, and ATTUNE_BACKUP_MAX_AGE_H is 48")
    assert "Backup: the newest is 3 days old" in admin.get("/jobs").text
    found = re.search(r"^attune_backup_age_seconds (\d+)$", admin.get("/metrics").text, re.M)
    assert found is not None
    assert 3 * 86400 < int(found[1]) < 4 * 86400


def test_a_dead_broker_degrades_but_is_ready(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "is_reachable", lambda: False)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["broker"]["state"] == "degraded"


def test_an_old_schema_is_not_ready(client: TestClient, database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    checks: dict[str, Any] = answer.json()["checks"]
    assert checks["database"]["state"] == "failed"
    assert client.get("/livez").status_code == 200


def test_a_page_of_a_job_that_is_not_there(admin: TestClient, database: Database) -> None:
    with database.reader() as session:
        assert jobs.page(session).rows == []
    assert admin.get("/jobs/1").status_code == 404


def test_shards_lie_folded_under_their_job_with_who_has_what(
    admin: TestClient, database: Database
) -> None:
    job_id = enqueue(database, kind="generate")
    job = claim(database, "host-1")
    with database.transaction() as session:
        shards.cut(session, job_id, "draw-1", [shards.Part(32, {}) for _ in range(3)])
        job_helpers.ask(session, job_id, "draw-1", 1)
    helper = claim(database, "host-2")
    holder = shards.Holder(helper.job_id, helper.lease_token, "host-2")
    with database.transaction() as session:
        held = shards.take(session, job_id, holder)
        assert held is not None
        shards.finish(session, held.id, holder, {})
        shards.take(session, job_id, shards.Holder(job_id, job.lease_token, "host-1"))
    for address in ("/jobs", f"/jobs/{job_id}"):
        text = " ".join(admin.get(address).text.split())
        assert "<summary>1 of 3 shards" in text
        assert "host-2</span>: 1 of 1 ended, 32 rows" in text
        assert "host-1</span>: 0 of 1 ended, 32 rows" in text
        assert "Free: 1, 32 rows" in text
    first = {"worker": "", "shards": 1, "ended": 0, "rows": 32, "repeated": 0}
    assert admin.get(f"/api/v1/jobs/{job_id}/shards").json()[0] == first
    assert admin.get(f"/api/v1/jobs/{helper.job_id}").json()["helps_id"] == job_id
    assert f'/jobs/{helper.job_id}"' not in admin.get("/jobs").text
    assert f"/jobs/{helper.job_id}" in admin.get(f"/jobs/{job_id}").text
    shown = " ".join(admin.get(f"/jobs/{helper.job_id}").text.split())
    assert f'Helps <a href="/jobs/{job_id}">job {job_id} · generate</a>' in shown


def test_a_queued_job_says_what_it_waits_for_and_since_when(
    admin: TestClient, database: Database
) -> None:
    enqueue(database, kind="policy")
    claim(database, "host-1")
    job_id = enqueue(database, kind="score")
    with database.transaction() as session:
        workers.seen(session, workers.Description("host-1", ["gpu"], "", "1"), job_id=None)
    for address in ("/jobs", f"/jobs/{job_id}"):
        text = " ".join(admin.get(address).text.split())
        reason = r"Waiting for a worker. Running now: training a policy. Queued \d+ s ago\."
        assert re.search(reason, text)
    assert "1 running · served by 1 worker" in " ".join(admin.get("/jobs").text.split())


def test_health_and_figures_say_how_many_workers_serve_each_queue(
    client: TestClient, database: Database
) -> None:
    def said() -> tuple[str, str]:
        check = client.get("/readyz").json()["checks"]["workers"]
        return check["state"], check["message"]

    assert said() == ("degraded", "none takes jobs of gpu and cpu, so these wait (gpu 0, cpu 0)")
    with database.transaction() as session:
        workers.seen(session, workers.Description("one", ["gpu"], "", "1"), job_id=None)
        workers.seen(session, workers.Description("two", ["gpu"], "", "1"), job_id=None)
    assert said() == ("degraded", "none takes jobs of cpu, so these wait (gpu 2, cpu 0)")
    assert client.get("/readyz").json()["is_ready"]
    with database.transaction() as session:
        workers.seen(session, workers.Description("two", ["gpu", "cpu"], "", "1"), job_id=None)
    assert said() == ("ok", "live workers of each queue: gpu 2, cpu 1")
    lines = client.get("/metrics").text.splitlines()
    assert {'attune_queue_workers{queue="gpu"} 2', 'attune_queue_workers{queue="cpu"} 1'} <= {
        *lines
    }

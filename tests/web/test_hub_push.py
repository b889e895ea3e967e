"""Pushing a model to a hub: the model's page, the API, and what they refuse."""

from collections.abc import Callable

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database, now
from app.domain.states import JobState
from app.models import AuditEvent, Checkpoint, Job, Role, User
from app.services.checkpoints import merged_models
from app.services.people import accounts
from app.services.project import projects

HTML = {"accept": "text/html"}
PAGE, API = "/p/desk/models", "/api/v1/projects/desk/checkpoints"
MERGED = {"folder": "merged/1", "sha256": "f" * 64, "dtype": "float32", "bytes": 1}


@pytest.fixture
def lead(sign_in: Callable[..., TestClient], database: Database) -> TestClient:
    """Give a browser of the lead of a project with a base model and two policies."""
    browser = sign_in("lead")
    with database.transaction() as session:
        project = projects.create(session, name="Desk", owner=session.query(User).one())
        for name, kind, state in (
            ("Base", "base", "ready"),
            ("Policy 1", "policy", "ready"),
            ("Policy 2", "policy", "retired"),
        ):
            session.add(
                Checkpoint(
                    project_id=project.id,
                    kind=kind,
                    name=name,
                    uri=name,
                    sha256="0" * 64,
                    config={"layout": "adapter"},
                    state=state,
                    created_at=now(session),
                )
            )
    return browser


def newest_job(database: Database) -> Job:
    with database.reader() as session:
        job = session.scalars(select(Job).order_by(Job.id.desc())).first()
        assert job is not None
        return job


def end(database: Database, job_id: int, state: JobState, **changes: object) -> None:
    with database.transaction() as session:
        job = session.get_one(Job, job_id)
        job.state = state
        for name, value in changes.items():
            setattr(job, name, value)


def test_a_push_is_asked_for_watched_and_ends_with_its_address(
    lead: TestClient, database: Database
) -> None:
    page = lead.get(f"{PAGE}/2", headers=HTML).text
    assert "the adapter as it is" in page
    assert 'name="private" value="1" checked' in page
    form = {"name": " desk/library ", "what": "", "private": "1"}
    answer = lead.post(f"{PAGE}/2/push", data=form)
    assert answer.status_code == 303, answer.text
    job = newest_job(database)
    assert (job.kind, job.queue) == ("push", "cpu")
    assert job.payload["name"] == "desk/library"
    assert (job.payload["private"], job.payload["uri"]) == (True, "Policy 1")
    page = lead.get(f"{PAGE}/2", headers=HTML).text
    assert f'data-refresh="{PAGE}/2/pushes"' in page
    assert "Waits for a worker of the CPU queue" in page
    again = lead.post(f"{PAGE}/2/push", data=form, headers=HTML)
    assert again.status_code == 422
    assert "is pushing Policy 1 to desk/library already" in again.text
    running = {"progress_done": 3, "progress_total": 9, "progress_note": "uploading model"}
    end(database, job.id, JobState.RUNNING, **running)
    live = lead.get(f"{PAGE}/2/pushes", headers=HTML).text
    assert "3 of 9 MiB" in live
    assert "data-done" not in live
    end(database, job.id, JobState.SUCCEEDED, result={"url": "http://hub/desk/library"})
    live = lead.get(f"{PAGE}/2/pushes", headers=HTML).text
    assert 'href="http://hub/desk/library"' in live
    assert "data-done" in live
    with database.reader() as session:
        (event,) = session.scalars(select(AuditEvent).where(AuditEvent.action.like("%push")))
    assert event.details == {"name": "desk/library", "private": True, "merged": False}


def test_the_api_pushes_a_merged_model_and_tells_the_error(
    lead: TestClient, database: Database
) -> None:
    body = {"name": "desk/library", "private": False, "merged": True}
    early = lead.post(f"{API}/2/push", json=body)
    assert early.status_code == 404
    assert "have it merged first" in early.json()["detail"]
    with database.transaction() as session:
        policy = session.get_one(Checkpoint, 2)
        merging = merged_models.request(session, policy, user_id=None).id
    end(database, merging, JobState.SUCCEEDED, result=MERGED)
    made = lead.post(f"{API}/2/push", json=body)
    assert made.status_code == 202, made.text
    job = newest_job(database)
    assert (job.payload["uri"], job.payload["sha256"]) == ("merged/1", "f" * 64)
    end(database, job.id, JobState.FAILED, error="there is no token for the hub: set HF_TOKEN")
    (shown,) = lead.get(f"{API}/2/pushes").json()
    assert (shown["state"], shown["private"], shown["merged"]) == ("failed", False, True)
    assert "set HF_TOKEN" in shown["error"]
    page = lead.get(f"{PAGE}/2", headers=HTML).text
    assert "set HF_TOKEN" in page
    assert "the merged model" in page


@pytest.mark.parametrize(
    ("model", "body", "status", "message"),
    [
        (1, {"name": "desk/base"}, 422, "Base is a base model"),
        (2, {"name": "no spaces"}, 422, "name on the hub is like desk/library-policy"),
        (2, {"name": "desk/" + "x" * 96}, 422, "at most 96 letters"),
        (3, {"name": "desk/old"}, 409, "Policy 2 is retired"),
        (2, {"name": "desk/x", "merged": True, "member": "reward-1"}, 404, "no merged model"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_a_job(
    lead: TestClient,
    database: Database,
    model: int,
    body: dict[str, str],
    status: int,
    message: str,
) -> None:
    answer = lead.post(f"{API}/{model}/push", json=body)
    assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text
    with database.reader() as session:
        assert session.scalars(select(Job)).all() == []


def test_only_leads_push(
    lead: TestClient, sign_in: Callable[..., TestClient], database: Database
) -> None:
    labeler = sign_in("labeler")
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        user = session.query(User).filter_by(name="labeler").one()
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=user.id)
    assert labeler.post(f"{API}/2/push", json={"name": "desk/x"}).status_code == 403
    assert labeler.get(f"{API}/2/pushes").status_code == 403
    assert labeler.post(f"{PAGE}/2/push", data={"name": "desk/x"}).status_code == 403

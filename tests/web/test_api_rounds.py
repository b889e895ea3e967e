"""Rounds, models and exports as scripts see them; the jobs are run in this process."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.states import RoundState
from app.models import AuditEvent, CheckpointKind, Export, Job, Project, Role, User
from app.services.checkpoints import checkpoints
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.services.jobs import job_leases
from app.services.judging import labeling
from app.services.people import accounts
from app.services.queue import slot_leases
from app.services.rounds import round_progress
from tests.services import sample
from tests.services.rounds.stages import end_job, judge, make_project
from tests.worker.runs import small

PATH = "/api/v1/projects/{slug}"


@pytest.fixture
def lead(sign_in: Callable[..., TestClient]) -> TestClient:
    return sign_in("lead")


@pytest.fixture
def project(database: Database, lead: TestClient) -> Project:
    with database.transaction() as session:
        project = make_project(session)
        user = session.query(User).filter_by(name="lead").one()
        accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=user.id)
    return project


def url(project: Project, rest: str) -> str:
    return PATH.format(slug=project.slug) + rest


def made(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.json()


def test_a_round_is_launched_watched_and_decided(
    lead: TestClient, project: Project, database: Database
) -> None:
    preview = made(lead.post(url(project, "/rounds/preview"), json={"sft": None, "prompts": 1}))
    assert preview["prompts"] == 1
    assert preview["policy"]["total"] >= 1
    launched = made(lead.post(url(project, "/rounds"), json={"sft": None}), 201)
    assert (launched["number"], launched["state"]) == (1, RoundState.GENERATING)
    assert launched["plan"]["policy"]["kl_coefficient"] == 0.1
    again = lead.post(url(project, "/rounds"), json={"sft": None})
    assert again.status_code == 409
    with database.transaction() as session:
        round_ = round_progress.get(session, project.id, 1)
        end_job(session, round_)
        judge(session, round_)
        for _ in range(3):
            end_job(session, round_, compare=False)
    detail = made(lead.get(url(project, "/rounds/1")))
    assert detail["state"] == RoundState.DECIDING
    assert [job["kind"] for job in detail["jobs"]] == ["generate", "reward", "policy", "evaluate"]
    assert {each["kind"] for each in detail["checkpoints"]} == {"reward", "policy"}
    assert set(made(lead.get(url(project, "/rounds/1/metrics")))) == {
        "generate",
        "reward",
        "policy",
        "evaluate",
    }
    decided = made(
        lead.post(url(project, "/rounds/1/decide"), json={"promote": True, "reason": "good"})
    )
    assert (decided["state"], decided["reason"]) == (RoundState.PROMOTED, "good")
    assert [each["number"] for each in made(lead.get(url(project, "/rounds")))] == [1]


def test_stopping_a_rounds_job_on_its_page_is_audited(
    lead: TestClient, project: Project, database: Database
) -> None:
    made(lead.post(url(project, "/rounds"), json={"sft": None}), 201)
    with database.transaction() as session:
        claimed = job_leases.claim(session, "here", ["gpu"], lease_s=60)
    assert claimed is not None
    answer = lead.post(f"/p/{project.slug}/rounds/1/stop")
    assert answer.status_code == 303, answer.text
    with database.reader() as session:
        assert session.get_one(Job, claimed.job_id).stop_requested
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "job.stop")).one()
        assert event.actor_id == session.query(User).filter_by(name="lead").one().id


def test_cancelling_a_round_audits_the_jobs_it_cancels(
    lead: TestClient, project: Project, database: Database
) -> None:
    made(lead.post(url(project, "/rounds"), json={"sft": None}), 201)
    made(lead.post(url(project, "/rounds/1/cancel"), json={"reason": "wrong prompts"}))
    with database.reader() as session:
        actions = set(session.scalars(select(AuditEvent.action)))
    assert {"round.cancel", "job.cancel"} <= actions


def test_a_wrong_plan_is_refused_with_the_reason(lead: TestClient, project: Project) -> None:
    answer = lead.post(url(project, "/rounds"), json={"policy": {"kl": 1}})
    assert answer.status_code == 422
    assert "no setting 'kl'" in answer.json()["detail"]


def test_a_base_model_is_registered_once(lead: TestClient, project: Project) -> None:
    first = made(lead.post(url(project, "/checkpoints"), json={"uri": "some/base"}), 201)
    again = made(lead.post(url(project, "/checkpoints"), json={"uri": "some/base"}), 201)
    assert (first["id"], first["name"]) == (again["id"], "Base 1")
    answer = lead.get(url(project, f"/checkpoints/{first['id']}/download"))
    assert answer.status_code == 404
    assert made(lead.get(url(project, "/checkpoints?kind=policy"))) == []


def test_a_model_is_sent_as_a_tar(
    lead: TestClient, project: Project, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "artifacts" / "policy" / "job-1-1"
    (folder / "inner").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "inner" / "weights").write_bytes(b"w" * 700)
    with database.transaction() as session:
        row = checkpoints.create(
            session,
            project_id=project.id,
            kind=CheckpointKind.POLICY,
            written=CheckpointFiles("policy/job-1-1", "0" * 64, {}, {"loss": float("nan")}),
        )
    shown = made(lead.get(url(project, f"/checkpoints/{row.id}")))
    assert shown["metrics"] == {"loss": None}
    assert shown["lineage"]["judgments"] == 0
    answer = lead.get(url(project, f"/checkpoints/{row.id}/download"))
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        sizes = {member.name: member.size for member in archive}
    top = f"{project.slug}-policy-1"
    assert sizes == {f"{top}/config.json": 2, f"{top}/inner/weights": 700}


def test_an_export_is_asked_for_written_and_fetched(
    lead: TestClient, project: Project, database: Database, tmp_path: Path
) -> None:
    with database.transaction() as session:
        own = session.get_one(Project, project.id)
        for _ in range(3):
            sample.make_comparison(session, own, overlap=1)
        (labeler,) = sample.make_labelers(session, own, 1)
        for _ in range(3):
            assignment = slot_leases.claim(
                session, sample.SECRET, own, labeler, draw=sample.never_mix()
            )
            assert assignment is not None
            labeling.submit(session, own, labeler, sample.submission(assignment))
    assert "trl-implicit" in made(lead.get(url(project, "/exports/formats")))
    asked = made(lead.post(url(project, "/exports"), json={"format": "trl-implicit"}), 202)
    assert (asked["number"], asked["state"]) == (1, "queued")
    assert lead.get(url(project, "/exports/1/download")).status_code == 409
    assert small.run_jobs(database, tmp_path) == ["export"]
    ready = made(lead.get(url(project, "/exports/1")))
    assert (ready["state"], ready["rows"], ready["manifest"]["written"]) == ("ready", 3, 3)
    whole = lead.get(url(project, "/exports/1/download"))
    assert len(whole.content) == ready["bytes"]
    rest = lead.get(url(project, "/exports/1/download"), headers={"range": "bytes=10-"})
    assert rest.status_code == 206
    assert rest.content == whole.content[10:]


def test_an_empty_export_fails_and_says_why(
    lead: TestClient, project: Project, database: Database, tmp_path: Path
) -> None:
    made(lead.post(url(project, "/exports"), json={"format": "hh"}), 202)
    with pytest.raises(Exception, match=r"export 1 would be empty\. 0 rows: the project has no"):
        small.run_jobs(database, tmp_path)
    with database.reader() as session:
        assert session.query(Export).one().uri == ""


def test_unknown_formats_and_options_are_refused(lead: TestClient, project: Project) -> None:
    for body in ({"format": "xml"}, {"format": "hh", "options": {"ties": "maybe"}}):
        assert lead.post(url(project, "/exports"), json=body).status_code == 422


def test_what_belongs_to_another_project_is_not_found(
    lead: TestClient, project: Project, database: Database
) -> None:
    with database.transaction() as session:
        other = make_project(session)
        foreign = checkpoints.register_base(session, other, "their/base")
    assert lead.get(url(project, f"/checkpoints/{foreign.id}")).status_code == 404
    assert lead.get(url(other, "/rounds")).status_code == 404
    for rest in ("/rounds/1", "/exports/1", "/judgments/1/checkpoints"):
        assert lead.get(url(project, rest)).status_code == 404

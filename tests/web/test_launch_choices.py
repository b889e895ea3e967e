"""The three choices of a launch: on the page, through the API and on the command line."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient
from typer.testing import CliRunner

from app.cli.main import app
from app.db import Database, now
from app.domain.states import JobState
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Job, Project, Prompt, Role, Round, Split, User
from app.services.people import accounts
from tests.services.rounds.stages import make_project

runner = CliRunner()


@pytest.fixture
def lead(sign_in: Callable[..., TestClient]) -> TestClient:
    return sign_in("lead")


@pytest.fixture
def project(database: Database, lead: TestClient) -> Project:
    with database.transaction() as session:
        made = make_project(session)
        user = session.query(User).filter_by(name="lead").one()
        accounts.add_member(session, made.id, user.id, Role.LEAD, actor_id=user.id)
        add_model(session, made, "Base 1", CheckpointKind.BASE, {"size": {"parameters": 10**6}})
    return made


def add_model(
    session: Session,
    project: Project,
    name: str,
    kind: CheckpointKind,
    config: dict[str, Any] | None = None,
    round_id: int | None = None,
) -> int:
    row = Checkpoint(
        project_id=project.id,
        kind=kind,
        name=name,
        round_id=round_id,
        uri=project.base_model or "",
        config=config or {},
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row.id


def test_the_page_counts_a_large_project_once(
    lead: TestClient, project: Project, database: Database
) -> None:
    asked: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    page = lead.get(f"/p/{project.slug}/rounds/new", headers={"accept": "text/html"})
    assert page.status_code == 200
    for of_all in ("GROUP BY prompt.split", "SELECT DISTINCT comparison.prompt_id"):
        assert sum(of_all in statement for statement in asked) == 1
    for in_vain in ("count(prompt.id)", "judgment.instruction_version, count"):
        assert not any(in_vain in statement for statement in asked)


def form_of(page: str) -> dict[str, str]:
    """Return what a browser would send of the launch form."""
    body = page.split('<form class="side"')[1].split("</form>")[0]
    fields = {}
    for tag in re.findall(r"<input[^>]*>", body):
        found = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        is_box = found.get("type") in ("checkbox", "radio")
        if "name" in found and (not is_box or re.search(r"\schecked", tag)):
            fields[found["name"]] = found.get("value", "")
    for name, options in re.findall(
        r'<select id="[\w-]+" name="(\w+)"[^>]*>(.*?)</select>', body, re.S
    ):
        chosen = re.search(r'value="([^"]*)" selected', options)
        fields[name] = chosen.group(1) if chosen else ""
    return fields | dict.fromkeys(re.findall(r'<textarea [^>]*name="(\w+)"', body), "")


def planned(database: Database) -> dict[str, Any]:
    with database.reader() as session:
        plan: dict[str, Any] = session.scalars(select(Round)).one().plan
    return plan


def test_the_page_offers_three_choices_and_folds_the_rest_away(
    lead: TestClient, project: Project
) -> None:
    page = lead.get(f"/p/{project.slug}/rounds/new").text
    for title in ("Quick look", "Balanced", "Thorough", "All settings"):
        assert title in page
    assert form_of(page)["choice"] == form_of(page)["filled_from"] == "balanced"
    assert "instead of 400: the train split has no more" in page
    assert "not measured yet" in page


def test_another_choice_fills_in_what_was_not_changed_and_is_recorded(
    lead: TestClient, project: Project, database: Database
) -> None:
    url = f"/p/{project.slug}/rounds/new"
    sent = form_of(lead.get(url).text) | {"choice": "thorough", "kl_coefficient": "0.2"}
    shown = lead.post(url, data=sent | {"count": "1"}).text
    filled = form_of(shown)
    assert (filled["filled_from"], filled["candidates"]) == ("thorough", "8")
    assert filled["policy_steps_least"] == "40"
    assert "<b>Thorough</b>, changed:" in shown
    assert "Policy KL coefficient 0.2 instead of 0.1" in shown
    steps = lead.get(f"{url}/steps", params=sent).text
    assert "data-fill=" in steps
    assert "data-fill=" not in lead.get(f"{url}/steps", params=filled).text
    launched = lead.post(url, data=sent, follow_redirects=True).text  # without looking again
    assert "Thorough, changed: policy KL coefficient 0.2 instead of 0.1" in launched
    plan = planned(database)
    assert plan["candidates"] == 8
    assert plan["choice"]["name"] == "thorough"
    assert plan["choice"]["changed"] == ["policy.kl_coefficient 0.2 instead of 0.1"]
    with database.transaction() as session:
        round_ = session.scalars(select(Round)).one()
        model_id = add_model(session, project, "SFT 1", CheckpointKind.SFT, round_id=round_.id)
    assert "Thorough, changed" in lead.get(f"/p/{project.slug}/models/{model_id}").text


def test_the_api_takes_a_choice_with_settings_and_says_what_it_would_take(
    lead: TestClient, project: Project, database: Database
) -> None:
    url = f"/api/v1/projects/{project.slug}/rounds"
    offers = lead.get(f"{url}/choices").json()
    assert [offer["name"] for offer in offers] == ["quick", "balanced", "thorough"]
    seconds = [offer["estimate"]["seconds"] for offer in offers]
    assert seconds == sorted(seconds)
    asked = {"choice": "quick", "policy": {"kl_coefficient": 0.2}}
    preview = lead.post(f"{url}/preview", json=asked).json()
    assert preview["choice"]["changed"] == ["policy.kl_coefficient 0.2 instead of 0.1"]
    basis = preview["estimate"]["basis"]
    assert basis.startswith("not measured yet")
    assert re.search(r"prompts of [34] tokens, responses of [23], and", basis)  # as the texts are
    refused = lead.post(f"{url}/preview", json={"choice": "huge"})
    assert refused.status_code == 422
    assert "plan choice must be one of quick, balanced, thorough, not 'huge'" in refused.text
    lead.post(url, json=asked)
    plan = planned(database)
    assert plan["candidates"] == 2
    again = lead.post(f"{url}/preview", json=plan).json()  # the plan of a round, as it was read
    assert again["choice"]["changed"] == ["policy.kl_coefficient 0.2 instead of 0.1"]


def test_a_plan_without_a_choice_keeps_the_defaults(
    lead: TestClient, project: Project, database: Database
) -> None:
    lead.post(f"/api/v1/projects/{project.slug}/rounds", json={})
    plan = planned(database)
    assert (plan["choice"], plan["prompts"]) == (None, 400)


def test_finished_jobs_are_measured(lead: TestClient, project: Project, database: Database) -> None:
    url = f"/api/v1/projects/{project.slug}/rounds"
    lead.post(url, json={"choice": "quick"})
    with database.transaction() as session:
        for job in session.scalars(select(Job)):
            job.state, job.attempts, job.progress_done = JobState.SUCCEEDED, 1, 50
            job.started_at = now(session)
            job.ended_at = job.started_at + timedelta(seconds=100)
            job.result = {"peak_bytes": 3 * 2**30}
    offer = lead.get(f"{url}/choices").json()[0]
    assert offer["estimate"]["basis"].startswith("measured in 1 job here; ")
    assert offer["estimate"]["bytes"] == 3 * 2**30


def test_the_command_line_compares_choices_and_launches(
    project: Project,
    database: Database,
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATTUNE_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("ATTUNE_SECRET_KEY", "x" * 40)
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path))
    offered = runner.invoke(app, ["round", "choices", project.slug]).stdout.splitlines()
    assert [json.loads(line)["name"] for line in offered] == ["quick", "balanced", "thorough"]
    chosen = ["--choice", "quick", "--set", "policy.kl_coefficient=0.2"]
    counted = json.loads(runner.invoke(app, ["round", "preview", project.slug, *chosen]).stdout)
    assert counted["choice"].startswith("Quick look, changed: policy KL coefficient")
    wrong = runner.invoke(app, ["round", "preview", project.slug, "--set", "candidates"]).exception
    assert isinstance(wrong, Invalid)
    assert "a setting is name=value, not 'candidates'" in str(wrong)
    started = runner.invoke(app, ["round", "launch", project.slug, *chosen])
    assert json.loads(started.stdout.splitlines()[-1])["round"] == 1
    assert planned(database)["choice"]["name"] == "quick"


@pytest.mark.parametrize(
    ("lacking", "target"), [("model", "settings#base_model"), ("prompts", "prompts")]
)
def test_a_project_that_lacks_something_cannot_launch_and_says_where_it_is_supplied(
    lead: TestClient, project: Project, database: Database, lacking: str, target: str
) -> None:
    address = f"/p/{project.slug}/rounds/new"
    assert " disabled" not in lead.get(address).text.split("data-launch")[1].split(">")[0]
    with database.transaction() as session:
        if lacking == "model":
            session.get_one(Project, project.id).base_model = None
        else:
            for prompt in session.scalars(select(Prompt).where(Prompt.split == Split.TEST)):
                prompt.split = Split.TRAIN
    for answer in (lead.get(address), lead.post(address, data={"asked": "1", "sft": "1"})):
        assert "data-launch" in answer.text, (answer.status_code, answer.text)
        button = answer.text.split("data-launch")[1].split(">")[0]
        assert ' disabled aria-describedby="not-ready"' in button
        reason = answer.text.split('id="not-ready"')[1].split("</p>")[0]
        assert f'href="/p/{project.slug}/{target}"' in reason
    assert lead.post(f"/api/v1/projects/{project.slug}/rounds", json={}).status_code == 422
    with database.reader() as session:
        assert session.scalars(select(Round)).all() == []

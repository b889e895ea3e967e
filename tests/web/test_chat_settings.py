"""A project's settings for chat templates: on its page and in the API."""

from collections.abc import Callable

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import AuditEvent, Project, User
from app.services.project import projects

FORM = {
    "name": "Desk",
    "judgment_kind": "pick",
    "system_turns": "refuse",
    "template_arguments": '{"enable_thinking": false}',
    "thought_end": "</think>",
}
CHAT = {
    "system_turns": "refuse",
    "template_arguments": {"enable_thinking": False},
    "thought_end": "</think>",
}


@pytest.fixture
def lead(sign_in: Callable[..., TestClient], database: Database) -> TestClient:
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        projects.create(session, name="Desk", owner=user)
    return browser


def test_the_page_saves_them_and_shows_them_again(lead: TestClient, database: Database) -> None:
    assert lead.post("/p/desk/settings", data=FORM).status_code == 303
    with database.reader() as session:
        assert session.scalars(select(Project)).one().chat == CHAT
        changes = session.scalars(select(AuditEvent).where(AuditEvent.action == "project.edit"))
        assert changes.one().details["chat"][1] == CHAT
    page = lead.get("/p/desk/settings", headers={"accept": "text/html"}).text
    assert "<details open>" in page
    assert 'value="&lt;/think&gt;"' in page
    assert "enable_thinking" in page


def test_arguments_that_are_no_object_are_refused_on_the_page(lead: TestClient) -> None:
    answer = lead.post("/p/desk/settings", data=FORM | {"template_arguments": "enable_thinking"})
    assert answer.status_code == 422
    assert "arguments are not JSON" in answer.text


def test_the_api_reads_and_changes_them(lead: TestClient) -> None:
    project = "/api/v1/projects/desk"
    default = {"system_turns": "fold", "template_arguments": {}, "thought_end": ""}
    assert lead.get(project).json()["chat"] == default
    assert lead.patch(project, json={"chat": CHAT}).json()["chat"] == CHAT
    refused = lead.patch(project, json={"chat": {"system_turns": "drop"}})
    assert refused.status_code == 422
    assert "must be one of fold, refuse" in refused.text

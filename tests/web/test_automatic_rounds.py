"""Automatic rounds on pages and through the API: set, waited for, stopped, resumed."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import Database
from app.domain.automatic_rounds import AutomaticSettings, Blocker
from app.models import Project, Role, User
from app.services.people import accounts
from app.services.rounds import rounds
from app.services.rounds.automatic_rounds import AutomaticStatus
from app.web import automatic_words
from tests.services.rounds.stages import PLAN, make_project

PAGE = "/p/{slug}/settings/automatic-rounds"
API = "/api/v1/projects/{slug}/automatic-rounds"
FORM = {"is_on": "1", "judgments": "320", "most_in_row": "2", "hours_between": "0", "plan": "last"}


class Desk:
    """A project as its lead sees it."""

    def __init__(self, browser: TestClient, slug: str) -> None:
        self.browser, self.slug = browser, slug

    def page(self, path: str = PAGE) -> str:
        response = self.browser.get(path.format(slug=self.slug), headers={"accept": "text/html"})
        assert response.status_code == 200, response.text[:500]
        return " ".join(response.text.split())

    def post(self, path: str, data: Mapping[str, str] | None = None, status: int = 303) -> str:
        response = self.browser.post(PAGE.format(slug=self.slug) + path, data=dict(data or {}))
        assert response.status_code == status, response.text[:500]
        return str(response.text)

    def api(self, method: str, path: str = "", status: int = 200, **options: Any) -> Any:
        response = self.browser.request(method, API.format(slug=self.slug) + path, **options)
        assert response.status_code == status, response.text
        return response.json()


@pytest.fixture
def desk(sign_in: Callable[..., TestClient], database: Database) -> Desk:
    browser = sign_in("lead")
    with database.transaction() as session:
        project = make_project(session)
        lead = session.query(User).filter_by(name="lead").one()
        accounts.add_member(session, project.id, lead.id, Role.LEAD, actor_id=None)
    return Desk(browser, project.slug)


def test_what_is_waited_for_is_on_the_overview_and_the_list_of_rounds(
    desk: Desk, database: Database
) -> None:
    assert "Rounds start when a lead launches them." in desk.page("/p/{slug}/rounds")
    desk.post("", FORM)
    assert "launch the first one to give it a plan" in desk.page("/p/{slug}")
    with database.transaction() as session:
        project = session.query(Project).one()
        round_ = rounds.launch(session, project, PLAN, None)
    waits = "Round 2 starts automatically once round 1 is over, at 320 new judgments: 0 so far."
    for path in (PAGE, "/p/{slug}", "/p/{slug}/rounds"):
        assert waits in desk.page(path)
    with database.transaction() as session:
        rounds.cancel(session, rounds.locked(session, round_.id), reason="", actor_id=None)
    assert "Automatic rounds stopped: round 1 was cancelled" in desk.page("/p/{slug}")
    desk.post("/resume")
    assert "Round 2 starts automatically at 320 new judgments: 0 so far." in desk.page()
    desk.post("", FORM | {"plan": "keep_last"})
    assert 'value="kept" selected' in desk.page()
    desk.post("", FORM | {"plan": "kept", "judgments": "400"})
    assert desk.api("GET")["plan"] == round_.plan


def test_a_rejected_form_keeps_what_was_entered(desk: Desk) -> None:
    html = desk.post("", FORM | {"judgments": "0"}, 422)
    assert "judgments for an automatic round must be 1 to 100,000, not 0" in html
    assert 'name="most_in_row" type="number" value="2"' in html
    assert "are not paused" not in html
    assert "do not start automatically" in desk.post("/pause", status=422)


def test_the_api_does_what_the_page_does(desk: Desk) -> None:
    assert desk.api("GET")["waits_for"] == "off"
    saved = desk.api("PUT", json={"is_on": True, "judgments": 9, "plan": {"prompts": 7}})
    assert (saved["waits_for"], saved["plan"]["prompts"]) == ("too_few", 7)
    assert saved["sentence"] == "Round 1 starts automatically at 9 new judgments: 0 so far."
    paused = desk.api("POST", "/pause", json={"reason": "a holiday"})
    assert paused["sentence"] == "lead paused automatic rounds: a holiday. Resume to continue."
    assert "paused already" in desk.api("POST", "/pause", 409, json={})["detail"]
    assert desk.api("POST", "/resume")["paused_at"] is None
    assert (
        "prompts"
        in desk.api("PUT", "", 422, json={"is_on": True, "plan": {"prompts": 0}})["detail"]
    )


@pytest.mark.parametrize("blocker", [*Blocker, None])
def test_whatever_is_waited_for_is_said_in_a_sentence(blocker: Blocker | None) -> None:
    status = AutomaticStatus(
        AutomaticSettings(),
        blocker,
        is_on=True,
        judgments=500,
        since="Reward 3",
        open_round=4,
        next_number=5,
        not_before=datetime(2026, 3, 1, tzinfo=UTC),
        pause_reason="round 4 was held",
    )
    sentence = automatic_words.sentence(status)
    assert sentence.endswith(".")
    if blocker in (Blocker.ROUND_OPEN, Blocker.TOO_SOON, Blocker.TOO_FEW):
        assert "500 new judgments: 500 or more so far since Reward 3" in sentence

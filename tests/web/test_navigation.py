"""Where pages are: the menu, the breadcrumbs, and what the command palette offers to whom."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Project, Role, User
from app.services.people import accounts
from app.services.project import projects
from app.web import addresses, commands, navigation
from app.web.render import TEMPLATES
from tests.browser import every_page
from tests.web.routes import routes_of

PAGE = {"accept": "text/html"}


@pytest.fixture
def project(database: Database, make_user: Callable[..., User]) -> Project:
    owner = make_user("owner")
    with database.transaction() as session:
        return projects.create(
            session, name="Desk", slug="desk", owner=owner, judgment_kind=JudgmentKind.PICK
        )


@pytest.mark.parametrize(
    ("path", "group", "label", "is_own"),
    [
        ("", "", "Overview", True),
        ("/prompts", "Data", "Prompts", True),
        ("/prompts/imports/3", "Data", "Prompts", False),
        ("/labelers", "Label", "Labelers", True),
        ("/labelers/judges/2", "Label", "AI judges", False),  # not under labelers
        ("/label", "Label", "Queue", True),
        ("/history/8", "Label", "Queue", False),
        ("/practice/set", "Label", "Guidelines", False),
        ("/agreement/weights", "Label", "Agreement", False),
        ("/climb", "Train", "Rounds", False),
        ("/jobs/5", "Train", "Rounds", False),
        ("/settings/instruction", "", "Settings", False),
    ],
)
def test_a_page_has_its_place(
    application: Any, project: Project, path: str, group: str, label: str, is_own: bool
) -> None:
    found = navigation.place(project, f"/p/desk{path}")
    assert found is not None
    assert (found.group.title, found.entry.label, found.is_own) == (group, label, is_own)


def test_every_page_of_a_project_has_a_place_and_every_place_a_page_and_an_icon(
    application: Any, project: Project
) -> None:
    pages = {route.path for route in every_page.pages(routes_of(application))}
    icons = (TEMPLATES / "_shared/icons.html").read_text()
    parts = ("/live", "/steps", "/pushes", "/base-model")
    for path in pages:
        if path.startswith("/p/{slug}") and not path.endswith((*parts, "/overview/live")):
            address = re.sub(r"{\w+}", "1", path.replace("{slug}", "desk"))
            assert navigation.place(project, address), path
    for group in navigation.groups(project):
        for entry in group.entries:
            assert f'"{entry.icon}": "M' in icons, entry.icon
            address = addresses.path(entry.route, slug="{slug}")
            assert address.replace("%7B", "{").replace("%7D", "}") in pages, entry.route
    assert navigation.place(project, "/p/desk/nowhere") is None


def test_breadcrumbs_lead_back_and_the_menu_marks_the_place(
    project: Project, sign_in: Callable[..., TestClient]
) -> None:
    lead = sign_in("lead", is_admin=True)
    page = lead.get("/p/desk/labelers/judges", headers=PAGE).text
    crumbs = _crumbs(page)
    assert crumbs == ["Projects", "Desk", "AI judges"]
    page = lead.get("/p/desk/rounds/new", headers=PAGE).text
    assert _crumbs(page) == ["Projects", "Desk", "Rounds", "Plan round 1"]
    menu = page[page.index('id="places"') :]
    marked = re.findall(
        r'aria-current="(\w+)">\s*<svg.*?</svg>\s*([\w ]+?)\s*</a>', menu, re.DOTALL
    )
    assert marked == [("true", "Rounds")]
    assert _crumbs(lead.get("/p/desk", headers=PAGE).text) == ["Projects", "Desk"]
    assert _crumbs(lead.get("/account", headers=PAGE).text) == ["Projects", "Account"]
    assert 'aria-label="Breadcrumbs"' not in lead.get("/", headers=PAGE).text


def _crumbs(page: str) -> list[str]:
    found = re.search(r'aria-label="Breadcrumbs">(.*?)</nav>', page, re.DOTALL)
    assert found
    return [re.sub(r"<[^>]+>", "", item).strip() for item in re.findall(r"<li.*?</li>", found[1])]


def test_the_palette_offers_each_only_what_they_may_open(
    project: Project, database: Database, sign_in: Callable[..., TestClient]
) -> None:
    people = {
        name: sign_in(name, is_admin=name == "admin") for name in ("admin", "labeler", "other")
    }
    with database.transaction() as session:
        user = accounts.user_by_email(session, "labeler@example.org")
        assert user is not None
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
    offered = {name: _offered(browser, "desk") for name, browser in people.items()}
    assert {"New project", "Prompts", "Plan a round", "Desk", "People"} <= set(offered["admin"])
    assert {"Desk", "Label", "Your history", "Guidelines"} <= set(offered["labeler"])
    assert not {"Prompts", "Plan a round", "People", "Overview"} & set(offered["labeler"])
    assert not {"Desk", "Label", "Prompts", "People"} & set(offered["other"])
    assert "Prompts" not in _offered(people["admin"], "")
    for name, browser in people.items():
        for label, address in offered[name].items():
            answer = browser.get(address.partition("#")[0], headers=PAGE)
            assert answer.status_code == 200, (name, label)


def _offered(browser: TestClient, slug: str) -> dict[str, str]:
    found = browser.get("/api/v1/commands", params={"project": slug}).json()
    assert found["left_off"] == 0
    return {command["label"]: command["address"] for command in found["commands"]}


def test_projects_beyond_the_most_are_counted(
    application: Any, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PROJECTS_MOST", 2)
    user = User(email="a@example.org", name="A", is_admin=True)
    found = commands.of(user, [(project, None)] * 5, None)
    assert found.left_off == 3
    assert sum(command.group == commands.PROJECTS for command in found.commands) == 2

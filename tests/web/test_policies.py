"""Authorization, generated from the application's own routes: every route × every kind of asker."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Project, Role, User
from app.services.people import accounts
from app.services.project import projects
from tests.conftest import PASSWORD

ASKERS = ("nobody", "stranger", "labeler", "lead", "other_lead", "admin")
ALLOWED = {
    "public": set(ASKERS),
    "signed_in": set(ASKERS) - {"nobody"},
    "labeler": {"labeler", "lead", "admin"},
    "lead": {"lead", "admin"},
    "admin": {"admin"},
}
REFUSED = {401, 403, 404}


def _routes(application: Any) -> list[APIRoute]:
    return [route for route in _walk(application.routes) if isinstance(route, APIRoute)]


def _walk(routes: list[Any]) -> Iterator[Any]:
    for route in routes:
        yield route
        included = getattr(route, "original_router", route)  # FastAPI nests included routers
        yield from _walk(list(getattr(included, "routes", None) or []))


def _policies(dependant: Dependant) -> set[str]:
    own = getattr(dependant.call, "policy", None)
    found = {own} if own else set()
    for inner in dependant.dependencies:
        found |= _policies(inner)
    return found


def test_every_route_has_exactly_one_policy(application: Any) -> None:
    routes = _routes(application)
    assert len(routes) > 30
    for route in routes:
        assert len(_policies(route.dependant)) == 1, f"{route.methods} {route.path}"


def test_every_project_route_asks_for_a_member(application: Any) -> None:
    for route in _routes(application):
        if "{slug}" in route.path:
            assert _policies(route.dependant) <= {"labeler", "lead", "admin"}, route.path


@pytest.fixture
def browsers(application: Any, database: Database) -> Iterator[dict[str, TestClient]]:
    with database.transaction() as session:
        people = {name: _user(session, name) for name in ASKERS if name != "nobody"}
        for slug, lead in (("own", "lead"), ("other", "other_lead")):
            projects.create(session, name=slug, owner=people[lead], judgment_kind=JudgmentKind.PICK)
        own = projects.by_slug(session, "own")
        accounts.add_member(session, own.id, people["labeler"].id, Role.LABELER, actor_id=None)
    found = {name: _browser(application, name) for name in ASKERS}
    yield found
    for browser in found.values():
        browser.close()


def _user(session: Any, name: str) -> User:
    return accounts.create_user(
        session,
        email=f"{name}@example.org",
        name=name,
        password=PASSWORD,
        is_admin=name == "admin",
    )


def _browser(application: Any, name: str) -> TestClient:
    browser = TestClient(
        application,
        base_url="http://127.0.0.1",
        follow_redirects=False,
        raise_server_exceptions=False,
    )
    if name != "nobody":
        form = {"email": f"{name}@example.org", "password": PASSWORD}
        assert browser.post("/sign-in", data=form).status_code == 303
        page = browser.get("/account", headers={"accept": "text/html"}).text
        browser.headers["x-csrf-token"] = page.split('csrf-token" content="')[1].split('"')[0]
    return browser


def _path(route: APIRoute) -> str:
    values: dict[str, Callable[[], str]] = {}
    path = route.path.replace("{slug}", "own").replace(":path}", "}")
    while "{" in path:
        name = path[path.index("{") + 1 : path.index("}")]
        path = path.replace(f"{{{name}}}", values.get(name, lambda: "999999")())
    return path


def test_each_route_answers_only_those_its_policy_names(
    application: Any, browsers: dict[str, TestClient]
) -> None:
    checked = 0
    for route in _routes(application):
        allowed = ALLOWED[_policies(route.dependant).pop()]
        if route.path in {"/sign-out", "/account/sign-out-everywhere"}:
            continue  # they would sign the askers out
        for method in sorted((route.methods or set()) - {"HEAD"}):
            for asker in set(ASKERS) - allowed:
                answer = browsers[asker].request(
                    method, _path(route), headers={"accept": "application/json"}
                )
                # A refusal comes before the body is looked at: 422 would tell of the form.
                ok = answer.status_code in REFUSED or answer.status_code == 422
                assert ok, f"{asker}: {method} {route.path} -> {answer.status_code}"
                checked += 1
    assert checked > 60


def test_project_pages_open_for_those_they_name(browsers: dict[str, TestClient]) -> None:
    assert browsers["lead"].get("/p/own/settings").status_code == 200
    assert browsers["lead"].get("/p/other/settings").status_code == 404
    assert browsers["labeler"].get("/p/own/settings").status_code == 403
    assert browsers["stranger"].get("/p/own/label").status_code == 404


def test_a_project_has_a_slug(database: Database, browsers: dict[str, TestClient]) -> None:
    assert browsers["lead"]
    with database.reader() as session:
        found: Project = projects.by_slug(session, "own")
        assert found.name == "own"

"""Authorization, generated from the application's own routes: every route × every kind of asker."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Project, Role, User
from app.services.people import accounts
from app.services.project import projects
from app.web.guarded_route import GuardedRoute
from tests.browser import planted
from tests.conftest import PASSWORD
from tests.web.routes import (
    every_route,
    least_body,
    methods_of,
    path_of,
    path_with,
    policies_of,
    routes_of,
)

ASKERS = ("nobody", "stranger", "labeler", "lead", "other_lead", "admin")
ALLOWED = {
    "public": set(ASKERS),
    "signed_in": set(ASKERS) - {"nobody"},
    "labeler": {"labeler", "lead", "admin"},
    "lead": {"lead", "admin"},
    "admin": {"admin"},
}
REFUSED = {401, 403, 404}
SHOWN_AGAIN = {  # forms that come back with the reason, whatever it is
    "/api/v1/projects/{slug}/assignments/{assignment_id}/skip",
    "/p/{slug}/chat/{chat_id}/again",
    "/p/{slug}/labelers/{user_id}",
}
NEEDED = {  # the scope for reading and the one for changing; written down twice, on purpose
    "public": (None, "write"),
    "signed_in": ("read", "write"),
    "labeler": ("label", "label"),
    "lead": ("read", "write"),
    "admin": ("admin", "admin"),
}


def test_every_route_has_exactly_one_policy(
    application: Any, record_property: Callable[[str, object], None]
) -> None:
    routes = routes_of(application)
    guarded = sum(len(policies_of(route.dependant)) == 1 for route in routes)
    record_property("routes", len(routes))
    record_property("guarded", guarded)
    assert len(routes) > 30
    for route in routes:
        assert len(policies_of(route.dependant)) == 1, f"{route.methods} {route.path}"


def test_every_route_authorizes_before_it_reads_a_body(application: Any) -> None:
    """Whatever is not guarded has no policy, so it is listed here with the reason."""
    plain = {
        "/api/openapi.json",  # a description of the API, the same for everybody
        "/static",  # files of the pages, the same for everybody
    }
    assert all(isinstance(route, GuardedRoute) for route in routes_of(application))
    others = {
        getattr(route, "path", "")
        for route in every_route(application)
        if not isinstance(route, GuardedRoute) and not hasattr(route, "original_router")
    }
    assert others == plain


def test_every_project_route_asks_for_a_member(application: Any) -> None:
    for route in routes_of(application):
        if "{slug}" in route.path:
            assert policies_of(route.dependant) <= {"labeler", "lead", "admin"}, route.path


@pytest.fixture
def browsers(application: Any, database: Database) -> Iterator[dict[str, TestClient]]:
    with database.transaction() as session:
        people = {name: _user(session, name) for name in ASKERS if name != "nobody"}
        for slug, lead in (("own", "lead"), ("other", "other_lead")):
            projects.create(session, name=slug, owner=people[lead], judgment_kind=JudgmentKind.PICK)
        own = projects.by_slug(session, "own")
        accounts.add_member(session, own.id, people["labeler"].id, Role.LABELER, actor_id=None)
    with ExitStack() as opened:
        yield {name: opened.enter_context(_browser(application, name)) for name in ASKERS}


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


def test_each_route_answers_only_those_its_policy_names(
    application: Any,
    browsers: dict[str, TestClient],
    record_property: Callable[[str, object], None],
) -> None:
    checked = 0
    for route in routes_of(application):
        allowed = ALLOWED[policies_of(route.dependant).pop()]
        if route.path in {"/sign-out", "/account/sign-out-everywhere"}:
            continue  # they would sign the askers out
        for method in methods_of(route):
            refused = sorted(set(ASKERS) - allowed)
            for asker in refused[:1] if method == "HEAD" else refused:
                answer = browsers[asker].request(
                    method, path_of(route), headers={"accept": "application/json"}
                )
                # A refusal comes before the body is looked at: 422 would tell of the form.
                ok = answer.status_code in REFUSED
                assert ok, f"{asker}: {method} {route.path} -> {answer.status_code}"
                checked += 1
    record_property("refusals", checked)
    assert checked > 60


def test_each_route_answers_only_tokens_with_its_scope(
    application: Any,
    database: Database,
    browsers: dict[str, TestClient],
    record_property: Callable[[str, object], None],
) -> None:
    """An administrator and lead may do everything, so only the scope can be what is missing."""
    with database.transaction() as session:
        admin = session.scalars(select(User).where(User.is_admin)).one()
        tokens = {
            scope: accounts.create_token(session, admin, name=scope, scopes=[scope]).secret
            for scope in accounts.SCOPES
        }
    script = browsers["nobody"]
    refused = allowed = 0
    for route in routes_of(application):
        reading, changing = NEEDED[policies_of(route.dependant).pop()]
        for method in sorted(route.methods or ()):
            needed = reading if method == "GET" else changing
            if needed is None:
                continue
            enough = accounts.IMPLIED_BY[needed]
            for scope in accounts.SCOPES:
                if scope in enough and (method != "GET" or scope != needed):
                    continue  # it would change something, or was asked with less
                headers = {
                    "authorization": f"Bearer {tokens[scope]}",
                    "accept": "application/json",
                }
                answer = script.request(method, path_of(route), headers=headers)
                lacks = "requires a token with the scope" in answer.text
                place = f"{scope}: {method} {route.path} -> {answer.status_code} {answer.text}"
                assert (answer.status_code == 403 and lacks) is (scope not in enough), place
                refused, allowed = refused + (scope not in enough), allowed + (scope in enough)
    record_property("refusals", refused)
    record_property("scopes", len(accounts.SCOPES))
    assert refused > 200
    assert allowed > 80


def test_what_is_in_another_project_is_nowhere(application: Any, database: Database) -> None:
    """Whoever leads a project asks for the rows of another in it, by every route that names one."""
    with database.transaction() as session:
        ids = planted.make_rows(session)
        other = _user(session, "other_lead")
        projects.create(session, name="other", owner=other)
        script = accounts.create_token(session, other, name="all", scopes=["write"]).secret
    ids |= {"judgment_id": [1], "edit_id": [1]}
    headers = {"authorization": f"Bearer {script}", "accept": "application/json"}
    asked = set()
    with TestClient(application, base_url="http://127.0.0.1", follow_redirects=False) as client:
        for route in routes_of(application):
            named = [name for name in route.param_convertors if ids.get(name)]
            if "{slug}" not in route.path or not named:
                continue
            for method in sorted(route.methods or ()):
                body, is_form = least_body(route)
                sent: Any = {"data" if is_form else "json": body} if method != "GET" else {}
                for path in path_with(route, ids, slug="other"):
                    answer = client.request(method, path, headers=headers, **sent)
                    place = f"{method} {path} -> {answer.status_code} {answer.text[:200]}"
                    is_form_shown_again = route.path in SHOWN_AGAIN and answer.status_code in {
                        409,
                        422,
                    }
                    assert answer.status_code == 404 or is_form_shown_again, place
                    asked.update(named)
    assert asked >= {"job_id", "checkpoint_id", "chat_id", "judge_id", "scoring_id", "prompt_id"}


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

"""Requests that no browser and no honest script sends: refused with a reason, never a crash."""

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, get_args

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import User
from app.services.project import projects
from app.web.guarded_route import FORMS
from tests.web.routes import least_body, path_of, routes_of

SignIn = Callable[..., TestClient]
API = "/api/v1/projects/desk"
HTML = {"accept": "text/html"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    browser = sign_in("lead", is_admin=True)
    with database.transaction() as session:
        owner = session.scalars(select(User)).one()
        projects.create(session, name="Desk", owner=owner, judgment_kind=JudgmentKind.PICK)
    return browser


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "null", "", "//127.0.0.1@x"])
def test_an_origin_that_is_no_address_is_another_site(lead: TestClient, origin: str) -> None:
    for path, data in (
        ("/account", {"name": "Eve"}),
        ("/sign-in", {"email": "a@example.org", "password": "x" * 10}),
        (f"{API}/assignments", {}),
    ):
        answer = lead.post(path, data=data, headers={"origin": origin})
        assert (answer.status_code, "another origin" in answer.text) == (403, True), path


@pytest.mark.parametrize("token", ["\xe9", "€ ", "x" * 9000])
def test_a_form_token_of_any_letters_is_only_wrong(lead: TestClient, token: str) -> None:
    del lead.headers["x-csrf-token"]
    sent: Any = {"x-csrf-token": token.encode()}
    answers = [
        lead.post("/account", data={"name": "Eve"}, headers=sent),
        lead.post("/account", data={"name": "Eve", "csrf_token": token}),
        lead.post(f"{API}/assignments", json={}, headers=sent),
    ]
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert all("form has expired" in answer.text for answer in answers)


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_outside_of_all_calendars_is_refused(lead: TestClient, since: str) -> None:
    for path in ("judgments/all", "comparisons"):
        answer = lead.get(f"{API}/{path}", params={"since": since})
        assert (answer.status_code, "cannot be stored" in answer.text) == (422, True), path
    queue = lead.get(f"{API}/assignments/queue", params={"since": since})
    assert queue.status_code == (200 if since.startswith("0001") else 422)


TOO_LARGE = 2**63


def test_a_number_too_large_for_the_database_is_named_with_the_rule(lead: TestClient) -> None:
    for method, path, sent, field in (
        ("GET", f"{API}/agreement", {"params": {"round": TOO_LARGE}}, "round"),
        ("GET", f"{API}/jobs", {"params": {"before": -TOO_LARGE - 1}}, "before"),
        ("GET", f"{API}/judgments", {"params": {"before": TOO_LARGE}}, "before"),
        ("GET", f"{API}/jobs/{TOO_LARGE}", {}, "job_id"),
        ("POST", f"{API}/chats", {"json": {"first_id": TOO_LARGE}}, "first_id"),
        ("POST", "/p/desk/chat", {"data": {"first": str(TOO_LARGE)}}, "first"),
    ):
        sent_: Any = sent
        answer = lead.request(method, path, **sent_)
        told = answer.json()
        place = (path, told["detail"])
        assert (answer.status_code, told["field"]) == (422, field), place
        assert field in told["detail"], place
        assert "9223372036854775807" in told["detail"], place
        assert str(TOO_LARGE)[:-1] in told["detail"].partition(", not ")[2], place


def test_no_field_of_any_route_leaves_a_number_too_large_without_its_name(
    application: Any, lead: TestClient
) -> None:
    asked = 0
    for route in routes_of(application):
        method = "GET" if "GET" in (route.methods or ()) else next(iter(route.methods or ()))
        for field in route.dependant.query_params:
            if not _is_whole(field.field_info.annotation):
                continue
            path = path_of(route, "desk")
            answer = lead.request(method, path, params={field.alias: TOO_LARGE})
            assert "cannot be stored" not in answer.text, (method, path, field.alias)
            asked += 1
        body, is_form = least_body(route)
        if route.body_field is None or not isinstance(body, dict) or "sign-out" in route.path:
            continue
        fields = getattr(route.body_field.field_info.annotation, "model_fields", {})
        for name in (name for name, info in fields.items() if _is_whole(info.annotation)):
            sent: Any = {"data" if is_form else "json": body | {name: TOO_LARGE}}
            answer = lead.request(method, path_of(route, "desk"), **sent)
            assert "cannot be stored" not in answer.text, (method, route.path, name)
            assert answer.status_code < 500, (method, route.path, name)
            asked += 1
    assert asked > 100


DIGITS = "9" * 5000
"""More than Python reads as a number without an error of its own."""


def test_digits_without_end_are_no_number_wherever_text_may_hold_one(lead: TestClient) -> None:
    imported = {"map": ["prompt=q", "completion=c", "label=x", f"value=A={DIGITS}"]}
    sides = {"first": f"model-{DIGITS}", "second": "file-1"}
    for method, path, sent, status in (
        ("GET", f"{API}/comparisons", {"params": {"cursor": DIGITS}}, 422),
        ("GET", f"{API}/judgments/all", {"params": {"cursor": DIGITS}}, 422),
        ("GET", f"{API}/sides", {"params": sides}, 404),
        ("POST", f"{API}/sides/answers", {"json": {"sides": [sides["first"]], "prompts": 1}}, 422),
        ("POST", f"{API}/exports", {"json": {"options": {"rounds": [DIGITS]}}}, 422),
        (
            "POST",
            f"{API}/imports",
            {"params": imported, "content": b'{"q": "a", "c": "b", "x": "A"}'},
            201,
        ),
        ("GET", "/p/desk/comparisons", {"params": {"search": DIGITS[:400]}}, 200),
    ):
        sent_: Any = sent
        answer = lead.request(method, path, **sent_)
        assert answer.status_code == status, (path, answer.text[:200])


def _is_whole(annotation: Any) -> bool:
    return annotation is int or any(_is_whole(part) for part in get_args(annotation))


def test_a_nul_is_refused_by_name_wherever_text_comes_in(lead: TestClient) -> None:
    answers = {
        "name": lead.post("/account", data={"name": "a\0b"}),
        "search": lead.get(f"{API}/prompts", params={"search": "a\0"}),
        "filename": lead.post(f"{API}/imports?filename=%00", content=b'{"prompt": "A?"}\n'),
        "file": lead.post(f"{API}/imports", content=_form_with_file(), headers=_MULTIPART),
        "next": lead.get("/sign-in?next=%00"),
    }
    for name, answer in answers.items():
        assert answer.status_code == 422, (name, answer.text)
        assert f"{name} has a NUL character" in answer.text, name
    for path in ("/p/%00/settings", f"{API}/jobs/1/%00"):
        assert lead.post(path).status_code in {404, 422}, path
    lead.cookies.clear()
    for path in ("/p/%00/settings", f"{API}/prompts?search=%00"):
        assert lead.get(path).status_code == 401, "a stranger is not told"
    assert lead.get("/livez?x=%00").status_code == 422


_MULTIPART = {"content-type": "multipart/form-data; boundary=x"}


def _form_with_file() -> bytes:
    return (
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="a\0b"\r\n\r\n'
        b'{"prompt": "A?"}\r\n--x--\r\n'
    )


def test_a_body_of_another_type_is_named(lead: TestClient) -> None:
    for content, headers in (
        (b'{"name": "x"}', {"content-type": "text/plain"}),
        (b'{"name": "x"}', {}),
        (b"name=x", {"content-type": "application/x-www-form-urlencoded"}),
    ):
        answer = lead.patch(API, content=content, headers=headers)
        assert answer.status_code == 415, headers
        assert "takes application/json, not" in answer.json()["detail"]
    form = lead.post("/account", content=b'{"name": "x"}', headers=JSON)
    assert form.status_code == 415
    assert all(kind in form.json()["detail"] for kind in FORMS)
    accepted = lead.patch(
        API, content=b'{"k": 2}', headers={"content-type": "application/vnd.x+json; a=b"}
    )
    assert accepted.status_code == 200
    assert lead.post(f"{API}/rounds/1/retry").status_code == 404, "an optional body may be absent"
    stranger = {"content-type": "text/plain", "authorization": "Bearer att_x"}
    assert lead.patch(API, content=b"x", headers=stranger).status_code == 401


def test_a_wrong_method_is_told_all_the_right_ones(lead: TestClient) -> None:
    for path, methods in (
        (API, "GET, HEAD, PATCH"),
        ("/sign-in", "GET, HEAD, POST"),
        (f"{API}/assignments", "POST"),
        ("/static/base/base.css", "GET, HEAD"),
    ):
        for method in ("DELETE", "TRACE", "OPTIONS"):
            answer = lead.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, methods), (method, path)


def test_a_practice_run_without_a_pass_mark_is_told(lead: TestClient) -> None:
    row = {"prompt": "Who?", "completions": ["me", "you"], "answer": "a", "reason": "Me."}
    added = lead.post(f"{API}/practice/comparisons", json={"comparisons": [row]}).json()
    assert (added["new"], added["refused"]) == (1, [])
    told = lead.get(f"{API}/practice").json()
    assert (told["needed"], told["sentences"]) == (None, ["0 of 1 done, 0 right."])
    assert lead.get("/p/desk/practice", headers=HTML).status_code == 200


def test_a_page_that_is_not_there_knows_who_is_signed_in(
    lead: TestClient, client: TestClient
) -> None:
    for path, method, status in (
        ("/nothing/here", "GET", 404),
        ("/account", "DELETE", 405),
        ("/static/no.css", "GET", 404),
    ):
        page = lead.request(method, path, headers=HTML)
        assert (page.status_code, "Sign out" in page.text) == (status, True), path
        assert ">Sign in<" not in page.text
        assert ">Sign in<" in client.request(method, path, headers=HTML).text
    broken = HTML | {"authorization": "Bearer att_x"}
    assert ">Sign in<" in client.get("/nothing/here", headers=broken).text


def test_what_is_alive_needs_no_thread(client: TestClient, application: Any) -> None:
    """Forty requests that wait for a password to be hashed do not make the server look dead."""
    (route,) = (route for route in routes_of(application) if route.path == "/livez")
    assert iscoroutinefunction(route.endpoint)
    assert all(iscoroutinefunction(inner.call) for inner in route.dependant.dependencies)
    assert client.get("/livez").json() == {"state": "ok"}

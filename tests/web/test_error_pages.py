"""Errors of every status carry the security headers and a request id; bad values are no crash."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db import Database
from app.models import Role, User
from app.services.jobs import workers
from app.services.people import accounts
from app.services.project import projects
from app.web import error_help, security
from tests.conftest import PASSWORD

SignIn = Callable[..., TestClient]
HTML = {"accept": "text/html"}


@pytest.fixture
def outside(application: Any) -> Iterator[TestClient]:
    """Provide a client that gets the response to a crash, as over a socket."""
    with TestClient(
        application,
        base_url="http://127.0.0.1",
        follow_redirects=False,
        raise_server_exceptions=False,
    ) as client:
        yield client


def crash(*_given: object) -> None:
    raise RuntimeError("not foreseen")


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_an_error_of_any_status_carries_the_headers_and_a_request_id(
    outside: TestClient, make_user: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    make_user("ada")
    monkeypatch.setattr(workers, "queue_figures", crash)
    outside.headers["accept"] = accept
    large = {"content-length": str(2**40)}
    form = {"email": "ada@example.org", "password": "wrong password"}
    answers = [
        outside.get("/nowhere"),
        outside.delete("/sign-in"),
        outside.post("/sign-in", content=b"", headers=large),
        outside.post("/sign-in", data=form),
        outside.post("/sign-in", data={}),
        outside.post("/tokens", headers={"sec-fetch-site": "cross-site"}),
        outside.get("/metrics"),
        outside.get("/people"),
    ]
    people = 303 if accept == "text/html" else 401
    statuses = [404, 405, 413, 401, 422, 403, 500, people]
    assert [answer.status_code for answer in answers] == statuses
    for answer in answers:
        assert security.HEADERS.items() <= dict(answer.headers).items()
        request_id = answer.headers["x-request-id"]
        is_page = "text/html" in answer.headers.get("content-type", "")
        if answer.status_code >= 402:
            assert is_page is (accept == "text/html")
            assert request_id in answer.text


def test_a_request_id_is_taken_over_only_if_it_can_be_logged(outside: TestClient) -> None:
    for given, kept in (("abc-1.2", True), ("a b", False), ("x" * 65, False), ("a\x1b[2J", False)):
        answer = outside.get("/livez", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is kept


SETTINGS: list[tuple[str, Any]] = [
    ("k", None),
    ("overlap", None),
    ("judgment_kind", None),
    ("rating_max", None),
    ("name", None),
    ("chat", None),
    ("is_paused", None),
    ("k", 2**63),
    ("overlap", 2**63),
    ("name", "\ud800"),
    ("description", "a\0b"),
]


def test_settings_that_no_project_can_have_are_refused_by_name(
    outside: TestClient, sign_in: SignIn, database: Database
) -> None:
    sign_in("root", is_admin=True)
    form = {"email": "root@example.org", "password": PASSWORD}
    assert outside.post("/sign-in", data=form).status_code == 303
    page = outside.get("/account", headers=HTML).text
    outside.headers["x-csrf-token"] = page.split('csrf-token" content="')[1].split('"')[0]
    api = "/api/v1/projects"
    assert outside.post(api, json={"name": "Desk"}).status_code == 201
    for name, value in SETTINGS:
        body = f'{{"name": "Two", "{name}": {_json(value)}}}'
        headers = {"content-type": "application/json"}
        for answer in (
            outside.patch(f"{api}/desk", content=body, headers=headers),
            outside.post(api, content=body, headers=headers),
        ):
            assert answer.status_code == 422, (name, value, answer.text)
            assert name in answer.json()["detail"]
    cleared = outside.patch(f"{api}/desk", json={"practice_pass_share": None, "base_model": None})
    assert cleared.status_code == 200
    assert outside.get("/p/desk/practice/set", headers=HTML).status_code == 200
    assert outside.get("/p/desk/practice", headers=HTML).status_code == 200


def _json(value: Any) -> str:
    if isinstance(value, str):
        return '"' + "".join(f"\\u{ord(letter):04x}" for letter in value) + '"'
    return "null" if value is None else str(value)


def test_a_change_that_fails_as_it_is_committed_is_a_page_of_an_error(
    sign_in: SignIn, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollback expires what the page would show of the viewer."""
    browser = sign_in("ada")

    def unstorable(session: Session, user_id: int) -> int:
        session.get_one(User, user_id).name = 2**63  # type: ignore[assignment]
        return 0

    monkeypatch.setattr(accounts, "sign_out_everywhere", unstorable)
    answer = browser.post("/account/sign-out-everywhere", headers=HTML)
    assert (answer.status_code, "cannot be stored" in answer.text) == (422, True)


def test_a_page_that_is_not_there_says_so_in_words(client: TestClient) -> None:
    page = client.get("/nothing/here", headers={"accept": "text/html"})
    assert page.status_code == 404
    assert "Nothing is here" in page.text
    assert "There is no page at this address." in page.text
    assert "Not Found" not in page.text
    answer = client.get("/nothing/here", headers={"accept": "application/json"}).json()
    assert (answer["title"], answer["status"]) == ("Not Found", 404)


def test_an_error_page_says_what_helps(
    sign_in: SignIn, database: Database, make_user: Callable[..., User]
) -> None:
    labeler, stranger = sign_in("ada"), sign_in("eve")
    owner = make_user("bo")
    with database.transaction() as session:
        project = projects.create(session, name="Desk", owner=owner)
        user = session.query(User).filter_by(name="ada").one()
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
    said = {
        (labeler, "/p/desk/settings"): ("Ask bo to do it, or to make you a lead.", "Label in Desk"),
        (labeler, "/p/desk/history/99"): (error_help.GONE, "Label in Desk"),
        (stranger, "/p/desk"): (
            "no project &#39;desk&#39;. Only its members see a project.",
            "projects",
        ),
        (stranger, "/people"): ("Ask an administrator of this installation.", "Your projects"),
    }
    for (browser, path), parts in said.items():
        page = " ".join(browser.get(path, headers=HTML).text.split())
        for part in parts:
            assert part in page, (path, part)


def test_a_field_of_the_wrong_type_is_named_in_words_on_a_page(sign_in: SignIn) -> None:
    browser = sign_in("root", is_admin=True)
    page = browser.post("/projects/new", data={"k": "many"}, headers=HTML).text
    assert "“k” must be a whole number" in page
    assert "Input should be" not in page

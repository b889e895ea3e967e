"""Lists of comparisons, judgments and preferences over HTTP: pages, streams, scopes, refusals."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import Membership, Project, Role, User
from app.services.people import accounts
from app.services.project import projects
from app.web.api import rows
from tests.services.sample_votes import make_comparison, vote

SignIn = Callable[..., TestClient]
LISTS = {
    "/api/v1/projects/desk/comparisons": "comparisons",
    "/api/v1/projects/desk/judgments/all": "judgments",
    "/api/v1/projects/desk/preferences": "preferences",
}


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a browser signed in as the lead of a project with five judged comparisons."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user)
        for _ in range(5):
            vote(session, make_comparison(session, project), user, preferred="a", strength=2)
    return browser


def got(client: TestClient, path: str, **query: object) -> dict[str, Any]:
    answer = client.get(path, params={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize(("path", "name"), LISTS.items())
def test_pages_by_cursor_hold_each_row_once(lead: TestClient, path: str, name: str) -> None:
    whole = got(lead, path)
    assert (len(whole[name]), whole["next"]) == (5, None)
    seen, cursor = [], ""
    while cursor is not None:
        page = got(lead, path, limit=2, cursor=cursor)
        seen += page[name]
        cursor = page["next"]
    assert seen == whole[name]


@pytest.mark.parametrize(("path", "name"), LISTS.items())
@pytest.mark.parametrize("way", ["accept", "format"])
def test_a_stream_has_the_same_rows_read_page_by_page(
    lead: TestClient, path: str, name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = got(lead, path)[name]
    monkeypatch.setattr(rows, "MOST", 2)
    opened: list[str] = []
    reader = Database.reader

    def counted(self: Database) -> Any:
        opened.append(path)
        return reader(self)

    monkeypatch.setattr(Database, "reader", counted)
    headers = {"accept": rows.LINES} if way == "accept" else {}
    answer = lead.get(path, params={"format": "jsonl"} if way == "format" else {}, headers=headers)
    assert answer.headers["content-type"].startswith(rows.LINES)
    assert [json.loads(line) for line in answer.text.splitlines()] == whole
    assert len(opened) >= 3, "each page is a transaction of its own"


def test_labelers_are_named_by_pseudonym_only(lead: TestClient, database: Database) -> None:
    with database.reader() as session:
        pseudonym = session.scalar(select(Membership.pseudonym))
    for path in LISTS:
        text = lead.get(path, params={"texts": "true"} if "all" not in path else {}).text
        assert "@example.org" not in text
        assert "lead" not in text
    assert got(lead, "/api/v1/projects/desk/judgments/all")["judgments"][0]["labeler"] == pseudonym


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("limit=1001", "less than or equal to 1000"),
        ("limit=0", "greater than or equal to 1"),
        ("rounds=1", "rounds: Extra inputs are not permitted"),
        ("purpose=fun", "purpose: Input should be 'train'"),
        ("since=2026-01-01T00:00:00", "should have timezone info"),
        ("cursor=x", "a cursor is what a page returned as `next`, not 'x'"),
        ("cursor=x&format=jsonl", "a cursor is what a page returned as `next`, not 'x'"),
        ("labeler=L77", "there is no labeler 'L77' in this project"),
        ("round=9&format=jsonl", "there is no round 9 in this project"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(
    lead: TestClient, path: str, query: str, reason: str
) -> None:
    answer = lead.get(f"{path}?{query}")
    assert answer.status_code in {404, 422}
    assert reason in answer.json()["detail"]


def test_only_leads_read_everybodys_judgments(
    lead: TestClient, sign_in: SignIn, database: Database
) -> None:
    labeler = sign_in("labeler")
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == "labeler")).one()
        project = session.scalars(select(Project)).one()
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
    for path in LISTS:
        assert labeler.get(path).status_code == 403

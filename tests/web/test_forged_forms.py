"""Values that no page sends: refused with a message, never an error of the server."""

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Adjudication, Comparison, Criterion, Judgment, Role, User
from app.services.people import accounts
from app.settings import Settings
from tests.services import sample

SignIn = Callable[..., TestClient]
DAY_MS = 24 * 3600 * 1000
K = {"pick": 2, "rank": 3, "rate": 2, "thumbs": 1, "write": 0}


@pytest.fixture
def database(any_database: Database) -> Database:
    """Give each database in turn to the application too."""
    return any_database


@pytest.fixture
def settings(tmp_path: Path, any_url: str) -> Settings:
    return Settings(data_dir=tmp_path, database_url=any_url, secret_key="s" * 40)


def _desk(sign_in: SignIn, database: Database, kind: str, role: Role = Role.LABELER) -> TestClient:
    browser = sign_in("ada")
    browser.headers.update({"accept": "text/html"})
    with database.transaction() as session:
        project = sample.make_project(
            session, slug="desk", judgment_kind=JudgmentKind(kind), k=K[kind]
        )
        if kind == "rate":
            session.add_all(
                Criterion(project_id=project.id, name=name, help="Is it?", position=at)
                for at, name in enumerate(("helpful", "1: right"))
            )
        user = session.scalars(select(User).where(User.email == "ada@example.org")).one()
        accounts.add_member(session, project.id, user.id, role, actor_id=None)
        sample.read_guidelines(session, project, user.id)
        sample.make_comparison(session, project)
    browser.post("/p/desk/label/claim")
    return browser


def _fields(page: str) -> dict[str, Any]:
    names = ("assignment_id", "lease_token", "kind")
    found: dict[str, Any] = {
        name: re.findall(rf'name="{name}" value="([^"]*)"', page)[0] for name in names
    }
    return found | {
        "criteria": [unescape(one) for one in re.findall(r'name="criteria" value="([^"]*)"', page)]
    }


FORGED: list[tuple[str, dict[str, Any], str]] = [
    ("rate", {"ratings": "0:²:3"}, "not &#39;²&#39;"),
    ("rate", {"criteria": ["helpful", "helpful"]}, "names criterion &#39;helpful&#39; twice"),
    ("thumbs", {"thumb": "sideways"}, "up or down, not &#39;sideways&#39;"),
    ("thumbs", {"kind": "nonsense"}, "not &#39;nonsense&#39;"),
    ("thumbs", {"kind": "pick", "choice": "a"}, "asks for a thumb, not a pick"),
    ("thumbs", {"thumb": "up", "both_bad": "x", "kind": "rank"}, "both_bad must be 1"),
    ("write", {"text": "a\0b"}, "NUL character"),
    ("write", {"text": "so", "comment": "typed\0"}, "comment has a NUL character"),
    ("write", {"text": "so", "flags": "rude"}, "not &#39;rude&#39;"),
    ("write", {"text": "so", "key": "\0" * 9}, "key has a NUL character"),
    ("write", {"text": "so", "assignment_id": "9" * 30}, "The assignment must be"),
]


@pytest.mark.parametrize(("kind", "forged", "reason"), FORGED)
def test_a_forged_form_comes_back_with_the_reason_and_what_was_typed(
    sign_in: SignIn, database: Database, kind: str, forged: dict[str, Any], reason: str
) -> None:
    browser = _desk(sign_in, database, kind)
    form = _fields(browser.get("/p/desk/label").text)
    answer = browser.post("/p/desk/label/submit", data=form | {"comment": "typed"} | forged)
    assert (answer.status_code, reason in answer.text) == (422, True), answer.text
    assert (">\ntyped" in answer.text) is ("assignment_id" not in forged)
    one = f"/p/desk/history/{form['assignment_id']}"
    assert browser.post(one, data=form | forged).status_code == 404  # it is not judged yet


def test_ids_beyond_those_of_any_row_are_refused_by_name(
    sign_in: SignIn, database: Database
) -> None:
    browser = _desk(sign_in, database, "write")
    huge = 2**63
    body = {"key": "first-key", "lease_token": "x", "answer": {"kind": "write", "text": "so"}}
    api = "/api/v1/projects/desk"
    answers = [
        browser.post(f"{api}/assignments/{huge}/submission", json=body),
        browser.put(f"{api}/judgments/{huge}", json=body),
        browser.post(f"{api}/judgments/{huge}/retraction", json={"key": "first-key"}),
        browser.get(f"{api}/judgments?before={huge}"),
        browser.post(
            f"{api}/assignments/exchange", json={"submissions": [body | {"assignment_id": huge}]}
        ),
        browser.get(f"/p/desk/history/{huge}"),
        browser.get(f"/p/desk/history?before={huge}"),
        browser.post(f"/p/desk/history/{huge}/retract"),
        browser.get(f"/p/desk/practice/answers/{huge}"),
        browser.post("/p/desk/label/skip", data={"assignment_id": huge, "reason": "unclear"}),
        browser.post("/p/desk/label/guidelines-read", data={"version": huge}),
        browser.post("/p/desk/guidelines/read", data={"version": huge}),
        browser.post("/p/desk/label/undo", data={"key": "\0" * 9}),
    ]
    assert [answer.status_code for answer in answers] == [422] * len(answers)
    last = browser.get("/p/desk/history/9223372036854775807")  # the greatest id there could be
    assert last.status_code == 404


def test_time_spent_is_kept_within_a_day(sign_in: SignIn, database: Database) -> None:
    browser = _desk(sign_in, database, "write")
    form = _fields(browser.get("/p/desk/label").text)
    body = {
        "key": "first-key",
        "lease_token": form["lease_token"],
        "answer": {"kind": "write", "text": "so"},
        "active_ms": 10**30,
    }
    api = "/api/v1/projects/desk"
    url = f"{api}/assignments/{form['assignment_id']}/submission"
    answer = browser.post(url, json=body)
    assert answer.status_code == 200, answer.text
    changed = browser.put(
        f"{api}/judgments/{answer.json()['judgment_id']}", json=body | {"key": "other-key"}
    )
    assert changed.status_code == 200, changed.text
    with database.reader() as session:
        assert set(session.scalars(select(Judgment.active_ms))) == {DAY_MS, 2 * DAY_MS}


SETTLEMENTS: list[tuple[dict[str, Any], str]] = [
    (
        {"ranks": ["1", "x", "2"]},
        "rank of B must be a whole number from 1 to 3, not &#39;x",
    ),
    (
        {"ranks": ["1", "2", "9"]},
        "rank of C must be a whole number from 1 to 3, not &#39;9",
    ),
    ({"ranks": ["²", "1", "1"]}, "not &#39;²&#39;"),
    ({"ranks": ["1", "2"]}, "2 places for 3 completions"),
    ({"ranks": []}, "each response a rank"),
    ({"ranks": ["1", "", ""]}, "rank is given to B, C"),
    ({"ranks": ["1", "2", "3"], "preferred": "a"}, "bad or left out, not &#39;a&#39;"),
    ({"ranks": ["1", "2", "3"], "reason": "spite"}, "not &#39;spite&#39;"),
]


def test_a_forged_settlement_comes_back_with_the_reason_and_what_was_typed(
    sign_in: SignIn, database: Database
) -> None:
    browser = _desk(sign_in, database, "rank", role=Role.LEAD)
    with database.reader() as session:
        comparison_id = session.scalars(select(Comparison.id)).one()
    url = f"/p/desk/comparisons/{comparison_id}/settle"
    typed = {"reason": "gap", "comment": "typed", "edge_case": "Ties are fine."}
    for forged, reason in SETTLEMENTS:
        answer = browser.post(url, data=typed | forged)
        assert (answer.status_code, reason in answer.text) == (422, True), answer.text
        assert 'value="typed"' in answer.text
        assert 'value="Ties are fine."' in answer.text
        selected = re.findall(r"<option selected>(\d)</option>", answer.text)
        assert selected == [rank for rank in forged["ranks"] if rank in {"1", "2", "3"}]
    assert browser.post(url, data=typed | {"ranks": ["2", "1", "2"]}).status_code == 303
    with database.reader() as session:
        assert session.scalars(select(Adjudication)).one().ranking == [2, 1, 2]


def test_a_pick_is_settled_only_by_one_of_the_answers(sign_in: SignIn, database: Database) -> None:
    browser = _desk(sign_in, database, "pick", role=Role.LEAD)
    with database.reader() as session:
        comparison_id = session.scalars(select(Comparison.id)).one()
    url = f"/p/desk/comparisons/{comparison_id}/settle"
    for preferred, reason in (
        ("z", "a, b, tie or bad, not &#39;z&#39;"),
        ("", "which response is better"),
    ):
        answer = browser.post(url, data={"reason": "gap", "preferred": preferred})
        assert (answer.status_code, reason in answer.text) == (422, True)
    assert browser.post(url, data={"reason": "gap", "preferred": "tie"}).status_code == 303


def test_a_text_in_the_place_of_a_file_is_refused_in_words(
    sign_in: SignIn, database: Database
) -> None:
    browser = _desk(sign_in, database, "pick", Role.LEAD)
    answer = browser.post("/p/desk/practice/set", data={"file": "words"})
    assert (answer.status_code, "“file” is not a file." in answer.text) == (422, True)
    assert "UploadFile" not in answer.text

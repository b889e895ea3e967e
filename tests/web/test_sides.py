"""The page that puts answers side by side: who may see it, what it shows, what its forms do."""

import json
import re
from collections.abc import Callable

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import AuditEvent, Job, Role, User
from app.services.people import accounts
from app.services.project import projects

SignIn = Callable[..., TestClient]
HTML = {"accept": "text/html"}
ROWS = [("one", "alike", "alike"), ("two", "the old answer", "<b>the</b> **new** answer")]


def lines(at: int) -> bytes:
    rows = ({"prompt": row[0], "completions": [row[at]]} for row in ROWS)
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a browser signed in as the lead of the project desk."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        projects.create(session, name="Desk", owner=user)
    return browser


@pytest.fixture
def address(lead: TestClient) -> str:
    """Upload two files and give the address where they are side by side."""
    files = [("file", ("untuned.jsonl", lines(1))), ("file", ("tuned.jsonl", lines(2)))]
    answer = lead.post("/p/desk/sides/files", files=files)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_two_files_are_shown_side_by_side_at_once(lead: TestClient, address: str) -> None:
    text = lead.get(address, headers=HTML).text
    assert "untuned.jsonl" in text
    assert "2 pairs" in text
    assert text.count('class="card stack pair"') == 2
    assert text.count("same response</span>") == 1
    assert "<strong>new</strong>" in text
    assert "<b>the</b>" not in text
    assert not re.findall(r">\s*(None|nan)\s*<", text)


def test_filters_words_and_marks_work_without_a_script(lead: TestClient, address: str) -> None:
    found = lead.get(f"{address}&difference=different&marks=1&q=old", headers=HTML).text
    assert found.count('class="card stack pair"') == 1
    assert "<mark>old</mark>" in found
    assert "&lt;" in found, "marked text is shown as it is, escaped"
    none = lead.get(f"{address}&q=nowhere", headers=HTML).text
    assert "None of the 2 pairs matches" in none
    assert lead.get(f"{address}&length=wide", headers=HTML).status_code == 422


def test_swapping_turns_the_filter_too(lead: TestClient, address: str) -> None:
    text = lead.get(f"{address}&length=first", headers=HTML).text
    (swapped,) = re.findall(r'href="(\?[^"]+)">Swap', text)
    assert "a=file-2" in swapped
    assert "length=second" in swapped


def test_a_file_without_answers_is_refused_with_its_line(lead: TestClient) -> None:
    answer = lead.post("/p/desk/sides/files", files={"file": ("q.jsonl", b'{"prompt": "one"}\n')})
    assert answer.status_code == 422
    assert "line 1: it has no response" in answer.text


def test_a_file_is_thrown_away(lead: TestClient, address: str) -> None:
    assert lead.post("/p/desk/sides/files/1/remove").status_code == 303
    assert lead.get(address, headers=HTML).status_code == 404
    text = lead.get("/p/desk/sides", headers=HTML).text
    assert "tuned.jsonl" in text
    assert "untuned.jsonl (" not in text


def test_only_models_can_be_asked_to_answer(lead: TestClient, database: Database) -> None:
    form = {"a": "file-1", "b": "model-1"}
    answer = lead.post("/p/desk/sides/answers", data=form)
    assert answer.status_code == 422
    assert "only models can respond" in answer.text
    with database.reader() as session:
        assert session.scalars(select(Job)).all() == []


def test_labelers_and_strangers_see_none_of_it(
    lead: TestClient, address: str, sign_in: SignIn, database: Database
) -> None:
    stranger, labeler = sign_in("stranger"), sign_in("labeler")
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == "labeler")).one()
        project = projects.by_slug(session, "desk")
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
    for path in ("/p/desk/sides", address):
        assert stranger.get(path).status_code == 404
        assert labeler.get(path).status_code == 403
    form = {"a": "model-1", "b": "model-2"}
    assert labeler.post("/p/desk/sides/answers", data=form).status_code == 403
    assert labeler.post("/p/desk/sides/files/1/remove").status_code == 403


def test_the_api_does_what_the_page_does(lead: TestClient, database: Database) -> None:
    base = "/api/v1/projects/desk/sides"
    keys = []
    for at, name in ((1, "untuned.jsonl"), (2, "tuned.jsonl")):
        made = lead.post(f"{base}/files", files={"file": (name, lines(at))})
        assert made.status_code == 201, made.text
        keys.append(made.json()["key"])
    assert [one["key"] for one in lead.get(f"{base}/choices").json()] == keys[::-1]
    asked = {"first": keys[0], "second": keys[1], "difference": "different"}
    found = lead.get(base, params=asked).json()
    assert [(one["first"], one["second"]) for one in found["pairs"]] == [ROWS[1][1:]]
    assert (found["found"], found["pages"], found["totals"]["pairs"]) == (1, 1, 2)
    assert lead.post(f"{base}/answers", json={"sides": keys}).status_code == 422
    assert lead.delete(f"{base}/files/1").status_code == 204
    assert lead.get(base, params=asked).status_code == 404
    with database.reader() as session:
        actions = [one.action for one in session.scalars(select(AuditEvent))]
    assert actions[-3:] == ["results.add", "results.add", "results.remove"]

"""Plain forms for every kind: what is sent is what is kept, and nothing typed is lost."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from app.web.answer_forms import AnswerForm
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid
from app.models import Criterion, Judgment, Role, User
from app.services.people import accounts
from tests.services import sample

SignIn = Callable[..., TestClient]
K = {"rate": 2, "thumbs": 1, "write": 0, "edit": 1}


def _desk(sign_in: SignIn, database: Database, kind: str) -> TestClient:
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
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
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


def _judgment(database: Database) -> Judgment:
    with database.reader() as session:
        return session.scalars(select(Judgment).where(Judgment.is_current)).one()


@pytest.mark.parametrize(
    ("kind", "sent", "kept", "words", "again"),
    [
        (
            "rate",
            {"ratings": ["0:0:4", "1:0:2", "0:1:5", "1:1:1"]},
            {"ratings": {"helpful": [4, 5], "1: right": [2, 1]}},
            r"helpful \d · \d; 1: right \d · \d",
            {"ratings": ["0:0:1", "1:0:2", "0:1:5", "1:1:1"]},
        ),
        (
            "thumbs",
            {"thumb": "down", "reasons": ["wrong", "unclear"]},
            {"thumb": "down", "reasons": ["wrong", "unclear"]},
            "Bad, wrong, hard to follow",
            {"thumb": "up"},
        ),
        ("write", {"text": "One.\r\nTwo."}, {"text": "One.\nTwo."}, "Written: One", {"text": "3"}),
        ("edit", {"text": "Better."}, {"text": "Better."}, "Better: Better", {"text": "Best."}),
    ],
)
def test_a_kind_is_judged_and_changed_with_plain_forms(
    sign_in: SignIn,
    database: Database,
    kind: str,
    sent: dict[str, Any],
    kept: dict[str, Any],
    words: str,
    again: dict[str, Any],
) -> None:
    browser = _desk(sign_in, database, kind)
    form = _fields(browser.get("/p/desk/label").text)
    assert browser.post("/p/desk/label/submit", data=form | sent).status_code == 303
    judgment = _judgment(database)
    assert {name: getattr(judgment, name) for name in kept} == kept
    assert re.search(words, browser.get("/p/desk/history").text)

    one = f"/p/desk/history/{form['assignment_id']}"
    page = browser.get(one).text
    key = re.findall(r'name="key" value="([^"]*)"', page)[0]
    opened = re.findall(r'value="(\d:\d:\d)" selected', page)
    assert sorted(opened) == sorted(sent.get("ratings", []))
    edit = {"kind": kind, "key": key, "criteria": form["criteria"]} | again
    assert browser.post(one, data=edit).status_code == 303
    assert _judgment(database).revision == 2


def test_a_text_that_is_refused_is_still_in_the_form(sign_in: SignIn, database: Database) -> None:
    browser = _desk(sign_in, database, "edit")
    page = browser.get("/p/desk/label").text
    original = re.findall(r'<textarea name="text"[^>]*>\n([^<]*)</textarea>', page)[0]
    form = _fields(page) | {"text": original, "comment": "not yet"}
    answer = browser.post("/p/desk/label/submit", data=form)
    assert answer.status_code == 422
    assert "own; change it" in answer.text
    assert f">\n{original}</textarea>" in answer.text
    assert ">\nnot yet</textarea>" in answer.text


@pytest.mark.parametrize(
    "form",
    [
        AnswerForm(kind=JudgmentKind.THUMBS),
        AnswerForm(kind=JudgmentKind.RATE, criteria=["good"], ratings=["0:0:"]),
        AnswerForm(kind=JudgmentKind.RATE, criteria=["good"], ratings=["1:0:3"]),
        AnswerForm(kind=JudgmentKind.RATE, criteria=["good"], ratings=["0:3"]),
        AnswerForm(kind=JudgmentKind.RATE, criteria=["good"], ratings=["0:0:²"]),
        AnswerForm(kind=JudgmentKind.RANK, ranks=["0:1", "1:"]),
    ],
)
def test_an_incomplete_or_odd_form_is_refused_in_words(form: AnswerForm) -> None:
    with pytest.raises(Invalid):
        form.body()


def test_a_text_keeps_its_first_empty_line() -> None:
    """What a form's field drops by itself, an empty first line, is printed twice."""
    form = AnswerForm(kind=JudgmentKind.WRITE, text="\r\nAfter a blank.")
    assert form.body().text == "\nAfter a blank."  # type: ignore[union-attr]

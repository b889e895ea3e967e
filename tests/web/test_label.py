"""The labeling page, home and history as they work without a script."""

import html
import json
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.db import Database, now
from app.domain.judgment_kinds import JudgmentKind
from app.models import (
    Assignment,
    Completion,
    Guidelines,
    Judgment,
    Membership,
    Project,
    Role,
    User,
)
from app.services.people import accounts
from tests.services import sample

SignIn = Callable[..., TestClient]
HTML = {"accept": "text/html"}


def _labeler(
    sign_in: SignIn, database: Database, comparisons: int = 3, **columns: Any
) -> TestClient:
    browser = sign_in("ada")
    browser.headers.update(HTML)
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk", **columns)
        user = session.scalar(select(User).where(User.email == "ada@example.org"))
        assert user is not None
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
        sample.read_guidelines(session, project, user.id)
        for _ in range(comparisons):
            sample.make_comparison(session, project)
    return browser


def _fields(page: str) -> dict[str, str]:
    names = ("assignment_id", "lease_token", "kind", "csrf_token")
    return {name: re.findall(rf'name="{name}" value="([^"]*)"', page)[0] for name in names}


def _judgments(database: Database) -> list[Judgment]:
    with database.reader() as session:
        return list(session.scalars(select(Judgment).order_by(Judgment.id)))


def test_a_pick_is_made_with_plain_forms(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database)
    assert "3 comparisons to judge" in browser.get("/p/desk/label").text
    assert browser.post("/p/desk/label/claim").status_code == 303
    form = _fields(browser.get("/p/desk/label").text) | {"choice": "b2", "comment": " clear "}
    assert browser.post("/p/desk/label/submit", data=form).status_code == 303
    assert browser.post("/p/desk/label/submit", data=form).status_code == 303  # sent twice
    (judgment,) = _judgments(database)
    assert (judgment.preferred, judgment.strength, judgment.comment) == ("b", 2, "clear")
    assert _fields(browser.get("/p/desk/label").text)["assignment_id"] != form["assignment_id"]


def test_an_incomplete_form_comes_back_with_the_reason(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database)
    browser.post("/p/desk/label/claim")
    form = _fields(browser.get("/p/desk/label").text)
    answer = browser.post("/p/desk/label/submit", data=form)
    assert answer.status_code == 422
    assert "not complete" in answer.text
    assert not _judgments(database)


def test_a_ranking_with_a_tie_is_made_with_plain_forms(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database, judgment_kind=JudgmentKind.RANK, k=4)
    browser.post("/p/desk/label/claim")
    form = _fields(browser.get("/p/desk/label").text)
    ranks = {"ranks": ["0:2", "1:1", "2:2", "3:3"]}
    assert browser.post("/p/desk/label/submit", data={**form, **ranks}).status_code == 303
    (judgment,) = _judgments(database)
    assert judgment.ranking == [2, 1, 2, 4]


def test_skip_and_undo_work_with_plain_forms(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database)
    browser.post("/p/desk/label/claim")
    form = _fields(browser.get("/p/desk/label").text)
    browser.post("/p/desk/label/skip", data=form | {"reason": "unclear"})
    assert _fields(browser.get("/p/desk/label").text)["assignment_id"] != form["assignment_id"]
    browser.post("/p/desk/label/undo", data={"key": "undo-key"})
    assert _fields(browser.get("/p/desk/label").text)["assignment_id"] == form["assignment_id"]


def test_what_the_script_gets_is_what_the_form_shows(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database)
    browser.post("/p/desk/label/claim")
    page = browser.get("/p/desk/label").text
    data = json.loads(html.unescape(re.findall(r'data-page="([^"]*)"', page)[0]))
    assert str(data["assignment"]["id"]) == _fields(page)["assignment_id"]
    texts = [one["text"] for one in data["assignment"]["candidates"]]
    shown = [page.index(f'<p dir="auto">{text}</p>') for text in texts]
    assert shown == sorted(shown)


def test_home_says_what_is_left_and_why_there_is_nothing(
    sign_in: SignIn, database: Database
) -> None:
    browser = _labeler(sign_in, database, comparisons=1)
    home = browser.get("/").text
    assert "1 comparison to judge" in home
    assert "new guidelines" not in home
    browser.post("/p/desk/label/claim")
    form = _fields(browser.get("/p/desk/label").text) | {"choice": "tie"}
    browser.post("/p/desk/label/submit", data=form)
    home = browser.get("/").text
    assert "You have judged all 1." in home
    assert "1 today" in home
    assert "new guidelines" not in home


def test_history_shows_changes_and_takes_back(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database)
    browser.post("/p/desk/label/claim")
    form = _fields(browser.get("/p/desk/label").text) | {"choice": "a4"}
    browser.post("/p/desk/label/submit", data=form)
    one = f"/p/desk/history/{form['assignment_id']}"
    assert "strongly better" in browser.get("/p/desk/history").text
    key = re.findall(r'name="key" value="([^"]*)"', browser.get(one).text)[0]
    edit = {"kind": "pick", "key": key, "choice": "tie", "both_bad": "1"}
    assert browser.post(one, data=edit).status_code == 303
    assert "About the same, both bad" in browser.get("/p/desk/history").text
    assert browser.post(f"{one}/retract").status_code == 303
    assert "retracted" in browser.get("/p/desk/history").text
    assert [row.revision for row in _judgments(database)] == [1, 2, 3]


def test_nobody_sees_someone_elses_history(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database)
    browser.post("/p/desk/label/claim")
    other = sign_in("bob")
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        bob = session.scalars(select(User).where(User.email == "bob@example.org")).one()
        accounts.add_member(session, project.id, bob.id, Role.LABELER, actor_id=None)
        assignment_id = session.scalars(select(Assignment.id)).one()
    assert other.get(f"/p/desk/history/{assignment_id}", headers=HTML).status_code == 404


def test_history_is_searched_by_what_was_read_and_said(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database)
    for comment in ("Naïve 100%", "plain"):
        browser.post("/p/desk/label/claim")
        form = _fields(browser.get("/p/desk/label").text) | {"choice": "a", "comment": comment}
        browser.post("/p/desk/label/submit", data=form)
    with database.reader() as session:
        one = session.scalars(select(Completion.text)).first()
    for search, found in (
        *(("naïve 100%", 1), ("NAIV", 1), ("aive", 0), ('"100 naive"', 0), ('"naive 100"', 1)),
        *((one, 1), ("Question", 2), ("x" * 9, 0), ('"*:&|!', 0)),
    ):
        page = browser.get("/p/desk/history", params={"q": search}).text
        assert page.count('class="card entry"') == found, search


def test_scripts_are_fetched_at_once_and_never_mixed_after_an_upgrade(
    sign_in: SignIn, database: Database
) -> None:
    browser = _labeler(sign_in, database)
    page = browser.get("/p/desk/label").text
    preloaded = re.findall(r'rel="modulepreload" href="([^"]*)"', page)
    script = re.findall(r'type="module" src="([^"]*label/label.js[^"]*)"', page)[0]
    imported = set(re.findall(r'from "\./([^"]*)"', browser.get(script).text))
    assert {f"/static/label/{name}" for name in imported} <= set(preloaded)
    assert all(browser.get(url).headers["cache-control"] == "no-cache" for url in preloaded)
    assert "max-age=31536000" in browser.get(script).headers["cache-control"]


def test_the_rules_come_before_the_first_judgment_and_again_when_they_change(
    sign_in: SignIn, database: Database
) -> None:
    browser = _labeler(sign_in, database)
    with database.transaction() as session:
        session.execute(update(Membership).values(guidelines_read_version=0))
    browser.post("/p/desk/label/claim")
    assert "new guidelines" in browser.get("/").text
    for title, version in (("Read the guidelines first", 1), ("The guidelines have changed", 2)):
        page = browser.get("/p/desk/label").text
        assert title in page
        assert "Be kind." in page
        assert "assignment_id" not in page
        assert "label.js" not in page
        read = {"version": str(version), "then": "label"}
        assert browser.post("/p/desk/label/guidelines-read", data=read).status_code == 303
        assert "assignment_id" in browser.get("/p/desk/label").text
        with database.transaction() as session:
            project = session.scalars(select(Project)).one()
            if version == 1:
                new = Guidelines(project_id=project.id, version=2, rules="Be kind.")
                new.created_at = now(session)
                session.add(new)


def test_the_rules_come_before_practice_too(sign_in: SignIn, database: Database) -> None:
    browser = _labeler(sign_in, database)
    answer = browser.post(
        "/p/desk/label/guidelines-read", data={"version": "1", "then": "practice"}
    )
    assert answer.headers["location"] == "/p/desk/practice"


def test_a_labeler_who_opens_the_project_lands_on_the_queue(
    sign_in: SignIn, database: Database
) -> None:
    answer = _labeler(sign_in, database).get("/p/desk")
    assert (answer.status_code, answer.headers["location"]) == (303, "/p/desk/label")

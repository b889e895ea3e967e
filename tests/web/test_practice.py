"""Practice on its page, by plain forms and through the API; and the lead's set."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import (
    Comparison,
    Completion,
    Judgment,
    Membership,
    PracticeAnswer,
    Project,
    Prompt,
    Purpose,
    Role,
    User,
)
from app.services.people import accounts
from app.services.rounds import prompt_selection
from tests.services import sample

SignIn = Callable[..., TestClient]
HTML = {"accept": "text/html"}
API = "/api/v1/projects/desk/practice"
REASON = "It *answers* the question."


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a browser of the lead; "ada" labels, and has to pass three comparisons."""
    browser = sign_in("lead")
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk", practice_pass_share=0.6)
        lead = session.scalars(select(User)).one()
        accounts.add_member(session, project.id, lead.id, Role.LEAD, actor_id=None)
        sample.make_comparison(session, project)
    rows = [_row(at) for at in range(3)]
    assert browser.post(f"{API}/comparisons", json={"comparisons": rows}).json()["new"] == 3
    return browser


@pytest.fixture
def labeler(lead: TestClient, sign_in: SignIn, database: Database) -> TestClient:
    browser = sign_in("ada")
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        user = session.scalars(select(User).where(User.name == "ada")).one()
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
        sample.read_guidelines(session, project, user.id)
    return browser


def _row(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "prompt": f"What is {number}?",
        "completions": [f"right {number}", f"wrong {number}"],
        "answer": "a",
        "reason": REASON,
    }
    return row | changes


def _html(browser: TestClient, path: str) -> str:
    answer = browser.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text[:300]
    return answer.text


def _fields(page: str) -> dict[str, str]:
    names = ("assignment_id", "lease_token", "kind", "csrf_token")
    return {name: re.findall(rf'name="{name}" value="([^"]*)"', page)[0] for name in names}


def _claimed(browser: TestClient, count: int = 1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = browser.post(f"{API}/assignments", json={"count": count}).json()[
        "assignments"
    ]
    return found


def _submission(assignment: dict[str, Any], *, right: bool) -> dict[str, Any]:
    word = "right" if right else "wrong"
    (at,) = [one["position"] for one in assignment["candidates"] if one["text"].startswith(word)]
    return {
        "assignment_id": assignment["id"],
        "lease_token": assignment["lease_token"],
        "key": f"key-{assignment['lease_token']}-{assignment['id']}",
        "answer": {"kind": "pick", "preferred": "ab"[at]},
    }


def _exchange(browser: TestClient, right: list[bool]) -> list[dict[str, Any]]:
    found = _claimed(browser, len(right))
    given = [_submission(one, right=is_right) for one, is_right in zip(found, right, strict=True)]
    answer = browser.post(f"{API}/assignments/exchange", json={"submissions": given}).json()
    results: list[dict[str, Any]] = answer["results"]
    return results


def test_what_was_right_and_why_comes_with_each_answer(labeler: TestClient) -> None:
    right, wrong = _exchange(labeler, [True, False])
    assert right["feedback"]["is_right"]
    assert not wrong["feedback"]["is_right"]
    assert wrong["feedback"]["answer"]["preferred"] != wrong["feedback"]["given"]["preferred"]
    assert wrong["feedback"]["answer_words"] in {"1 is better", "2 is better"}
    assert wrong["feedback"]["reason_html"] == (
        '<p dir="auto">It <em>answers</em> the question.</p>\n'
    )
    assert labeler.get(API).json()["sentences"] == [
        "2 of 3 done, 1 right.",
        "The pass mark is 2 of 3 right.",
    ]


def test_an_assignment_says_that_it_is_practice_and_not_what_is_right(labeler: TestClient) -> None:
    (one,) = _claimed(labeler)
    assert one["is_practice"]
    assert REASON not in json.dumps(one)


def test_ordinary_work_waits_until_practice_is_passed(labeler: TestClient) -> None:
    work = "/api/v1/projects/desk/assignments"
    before = labeler.post(work, json={}).json()
    assert before["assignments"] == []
    assert before["queue"]["is_practising"]
    assert "must pass this project’s practice" in before["queue"]["reasons"][0]
    _exchange(labeler, [True, True, False])
    assert len(labeler.post(work, json={}).json()["assignments"]) == 1


def test_a_run_is_repeated_only_when_it_is_complete(labeler: TestClient) -> None:
    assert labeler.post(f"{API}/again").status_code == 409
    _exchange(labeler, [False] * 3)
    assert labeler.post(f"{API}/again").json()["run"] == 2
    assert len(_claimed(labeler, 3)) == 3


def test_a_late_answer_of_an_earlier_run_and_a_skip_are_refused(labeler: TestClient) -> None:
    found = _claimed(labeler, 1)[0]
    late = _submission(found, right=True) | {"lease_token": "practice-9"}
    skip = {
        **{"assignment_id": found["id"], "lease_token": found["lease_token"]},
        **{"key": "skip-key", "reason": "other"},
    }
    body = {"submissions": [late], "skips": [skip], "count": 0}
    first, second = labeler.post(f"{API}/assignments/exchange", json=body).json()["results"]
    assert "a new practice run" in first["refused"]
    assert "cannot be skipped" in second["refused"]
    assert labeler.post(f"{API}/assignments/undo").status_code == 409
    assert len(labeler.post(f"{API}/assignments/heartbeat").json()) == 3


def test_practice_by_plain_forms(labeler: TestClient, database: Database) -> None:
    home = _html(labeler, "/")
    assert "must pass this project’s practice" in home
    assert 'href="/p/desk/practice"' in home
    assert 'href="/p/desk/practice"' in _html(labeler, "/p/desk/label")
    for at in range(3):
        page = _html(labeler, "/p/desk/practice")
        assert f'<b id="today">{at}</b> of 3' in page
        assert "Skip this one" not in page
        form = _fields(page)
        with database.reader() as session:
            answer = session.get_one(Comparison, int(form["assignment_id"])).gold_answer
        assert answer is not None
        said = answer["preferred"] if at else "ab".replace(answer["preferred"], "")
        sent = labeler.post("/p/desk/practice/submit", data=form | {"choice": said})
        assert sent.status_code == 303
        assert sent.headers["location"] == f"/p/desk/practice/answers/{form['assignment_id']}"
        shown = _html(labeler, sent.headers["location"])
        assert ("✓ Right" if at else "✗ Not right") in shown
        assert "<em>answers</em>" in shown
    result = _html(labeler, "/p/desk/practice")
    assert "You can label now" in result
    assert "You had 2 of 3 right." in result
    assert "must pass" not in _html(labeler, "/")
    assert labeler.post("/p/desk/practice/again").status_code == 303
    assert "assignment_id" in _html(labeler, "/p/desk/practice")


def test_an_answer_that_is_not_complete_comes_back_with_the_reason(labeler: TestClient) -> None:
    form = _fields(_html(labeler, "/p/desk/practice"))
    answer = labeler.post("/p/desk/practice/submit", data=form, headers=HTML)
    assert answer.status_code == 422
    assert "not complete" in answer.text


def test_somebody_elses_answer_is_not_shown(labeler: TestClient, lead: TestClient) -> None:
    (result,) = _exchange(labeler, [True])
    path = f"/p/desk/practice/answers/{result['assignment_id']}"
    assert labeler.get(path, headers=HTML).status_code == 200
    assert lead.get(path, headers=HTML).status_code == 404


def test_an_administrator_who_is_no_member_sees_no_practice(
    labeler: TestClient, sign_in: SignIn
) -> None:
    assert labeler
    admin = sign_in("root", is_admin=True)
    assert "Only members" in _html(admin, "/p/desk/practice")
    assert admin.post(f"{API}/assignments", json={}).status_code == 409


def test_a_file_is_added_once_and_its_bad_lines_are_named(
    lead: TestClient, database: Database
) -> None:
    lines = [
        _row(7),
        _row(0),  # there already
        _row(8, reason=" "),
        _row(9, answer="both"),
        _row(10, answer=[1, 2]),
        _row(11, completions=["one"]),
    ]
    data = "\n".join(json.dumps(one) for one in lines) + "\n\nnot json\n"
    sent = lead.post("/p/desk/practice/set", files={"file": ("set.jsonl", data)}, headers=HTML)
    assert sent.status_code == 200
    for line, reason in (
        *((3, "labelers learn from the reasons"), (4, "not &#39;both&#39;")),
        *((5, "settled answer of a pick is missing"), (6, "2 completions"), (8, "not JSON")),
    ):
        assert re.search(rf"Line {line}:</b> [^<]*{re.escape(reason)}", sent.text), (
            line,
            sent.text,
        )
    with database.reader() as session:
        found = session.scalars(select(Comparison).where(Comparison.purpose == Purpose.PRACTICE))
        assert len(found.all()) == 4
    again = lead.post(
        "/p/desk/practice/set", files={"file": ("set.jsonl", json.dumps(_row(7)))}, headers=HTML
    )
    assert again.status_code == 303


def test_a_file_without_any_row_to_take_is_refused(lead: TestClient) -> None:
    for data, reason in (("", "empty"), ("{}", "no &#39;prompt&#39;")):
        sent = lead.post("/p/desk/practice/set", files={"file": ("a.jsonl", data)}, headers=HTML)
        assert sent.status_code == 422
        assert reason in sent.text


def test_gold_comes_in_the_same_way_without_a_reason(lead: TestClient, database: Database) -> None:
    body = {"comparisons": [_row(20, reason="")], "purpose": "gold"}
    assert lead.post(f"{API}/comparisons", json=body).json() == {
        **{"new": 1, "known": 0, "refused": []},
    }
    with database.reader() as session:
        gold = session.scalars(select(Comparison).where(Comparison.purpose == Purpose.GOLD)).one()
        assert gold.gold_answer is not None


def test_no_round_draws_the_completions_of_practice(lead: TestClient, database: Database) -> None:
    with database.reader() as session:
        ids = list(session.scalars(select(Prompt.id)))
        drawn = [
            one for mine in prompt_selection.imported(session, ids, 9).values() for one in mine
        ]
        texts = {one.text for one in session.scalars(select(Completion))}
    assert any(text.startswith("right") for text in texts)
    assert not any(one.text.startswith("right") for one in drawn)


def test_the_lead_sees_who_passed_and_can_ask_again(
    labeler: TestClient, lead: TestClient, database: Database
) -> None:
    _exchange(labeler, [True, True, False])
    page = _html(lead, "/p/desk/practice/set")
    assert "passed" in page
    assert "A is better" in page or "B is better" in page
    with database.reader() as session:
        user_id = session.scalars(select(PracticeAnswer.labeler_id)).first()
    assert lead.post(f"/p/desk/practice/set/{user_id}/again").status_code == 303
    assert labeler.get(API).json()["is_required"]
    unknown = lead.post("/p/desk/practice/set/999999/again", headers=HTML)
    assert unknown.status_code == 404
    assert "Desk" in unknown.text
    assert labeler.get("/p/desk/practice/set", headers=HTML).status_code == 403


def test_the_guide_comes_once_and_goes_for_good(
    labeler: TestClient, database: Database, sign_in: SignIn
) -> None:
    assert 'id="guide"' in _html(labeler, "/p/desk/practice")
    assert labeler.post("/p/desk/label/guide-dismissed").status_code == 303
    assert 'id="guide"' not in _html(labeler, "/p/desk/practice")
    with database.reader() as session:
        query = select(Membership).join(User, User.id == Membership.user_id)
        member = session.scalars(query.where(User.name == "ada")).one()
        assert member.guide_dismissed_at is not None


def test_the_guide_is_gone_after_the_first_answer(labeler: TestClient, database: Database) -> None:
    _exchange(labeler, [True])
    assert 'id="guide"' not in _html(labeler, "/p/desk/practice")
    with database.reader() as session:
        assert session.scalars(select(Judgment)).all() == []


def test_other_kinds_come_from_files_too(lead: TestClient, database: Database) -> None:
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        project.judgment_kind, project.k = JudgmentKind.THUMBS, 1
    rows = [_row(30, completions=["short"], answer="down"), _row(31, answer="a")]
    found = lead.post(f"{API}/comparisons", json={"comparisons": rows}).json()
    assert (found["new"], found["refused"][0]["line"]) == (1, 2)


def test_a_pass_mark_names_whom_it_holds_back(
    lead: TestClient, labeler: TestClient, database: Database
) -> None:
    """Before it is set, when it is saved, and while it has no effect."""
    with database.reader() as session:
        ada = session.scalars(select(User).where(User.name == "ada")).one()
        name = session.scalars(select(Membership).where(Membership.user_id == ada.id)).one()
    who = f"{name.pseudonym} gets no comparisons before passing."
    assert who in _html(lead, "/p/desk/settings")
    without = lead.post("/p/desk/settings/mix", data={}, headers=HTML, follow_redirects=True)
    assert f"With a pass mark, {who}" in without.text
    assert f"Saved. {who}" not in without.text
    form = {"practice_pass_percent": "70"}
    saved = lead.post("/p/desk/settings/mix", data=form, headers=HTML, follow_redirects=True)
    assert f"Saved. {who}" in saved.text
    with database.transaction() as session:
        for comparison in session.scalars(select(Comparison)):
            comparison.is_withdrawn = True
    assert "The pass mark has no effect yet" in _html(lead, "/p/desk/settings")
    assert "The pass mark has no effect yet" in _html(lead, "/p/desk/practice/set")

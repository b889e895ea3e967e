"""Plain forms for every kind: what is sent is what is kept, and nothing typed is lost."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind, RateBody, WriteBody
from app.errors import Invalid
from app.models import Criterion, Judgment, Role, User
from app.services.people import accounts
from app.web.judgment_forms import SkipForm, skip_of, submission_of
from app.web.judgment_kinds import PAGE_KINDS, JudgmentForm, SettlementForm, in_words
from app.web.row_ids import ROW_ID_MOST
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


def _judgment(database: Database) -> Judgment:
    with database.reader() as session:
        return session.scalars(select(Judgment).where(Judgment.is_current)).one()


def _rate(*ratings: str, criteria: Sequence[str] = ("good",)) -> JudgmentForm:
    return JudgmentForm(kind="rate", criteria=list(criteria), ratings=list(ratings))


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
    ("form", "reason"),
    [
        (JudgmentForm(kind="thumbs"), "good or bad"),
        (JudgmentForm(kind="nonsense"), "the kind must be one of pick, .*, not 'nonsense'"),
        (JudgmentForm(), "the kind must be one of"),
        (JudgmentForm(kind="pick", choice="a²"), "the choice must be a or b.*; not 'a²'"),
        (JudgmentForm(kind="pick", choice="ab"), "not 'ab'"),
        (JudgmentForm(kind="pick", choice="a12"), "not 'a12'"),
        (JudgmentForm(kind="pick", choice="a٣"), "not 'a٣'"),
        (JudgmentForm(kind="pick", choice="c"), "not 'c'"),
        (JudgmentForm(kind="pick", choice="a", both_bad="perhaps"), "both_bad .* not 'perhaps'"),
        (JudgmentForm(kind="rank", ranks=["x:1"]), "rank 'x:1': the position .* 0 to 8, not 'x'"),
        (JudgmentForm(kind="rank", ranks=["0:²", "1:1"]), "the rank must be .* 1 to 2, not '²'"),
        (JudgmentForm(kind="rank", ranks=["0:1", "0:2"]), "names position 0 twice, in '0:2'"),
        (JudgmentForm(kind="rank", ranks=["7:1", "8:2"]), r"positions 0 to 1, not \[7, 8\]"),
        (JudgmentForm(kind="rank", ranks=["0:1", "1:3"]), "the rank must be .* 1 to 2, not '3'"),
        (JudgmentForm(kind="rank", ranks=["0:1", "1"]), "position:rank, not '1'"),
        (JudgmentForm(kind="rank", ranks=["0:1", "-1:2"]), "not '-1'"),
        (JudgmentForm(kind="rank", ranks=["0:1", "9" * 99 + ":2"]), "0 to 8, not '9{80}'…"),
        (JudgmentForm(kind="rank", ranks=["0:1", "1:"]), "give every response a rank"),
        (_rate("0:0:"), "rate every response on 'good'"),
        (_rate("1:0:3"), "the criterion must be .* 0 to 0, not '1'"),
        (_rate("0:3"), "criterion:position:rating, not '0:3'"),
        (_rate("0:0:²"), "the rating must be .* 1 to 9, not '²'"),
        (_rate("0:²:3"), "the position must be .* 0 to 8, not '²'"),
        (_rate("0:0:3", "0:0:4"), "'good' rates position 0 twice, in '0:0:4'"),
        (_rate("0:1:3"), r"on 'good' must be of positions 0 to 0, not \[1\]"),
        (_rate("0:0:3", criteria=[]), "the form names none"),
        (_rate("0:0:3", criteria=["good", "good"]), "names criterion 'good' twice"),
        (JudgmentForm(kind="write", assignment_id="x"), "the assignment must be .*, not 'x'"),
        (JudgmentForm(kind="write", assignment_id=str(ROW_ID_MOST + 1)), "the assignment must be"),
        (JudgmentForm(kind="write", assignment_id="9" * 500), "not '9{80}'…"),
    ],
)
def test_a_form_that_the_page_does_not_send_is_refused(form: JudgmentForm, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        submission_of(form)


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["a", "a3", "tie", "1", "0:1", "1:2", "0:0:5", "1:0:2", "²", ":", "::", "good", "up", "9" * 30]
)
FORMS = st.builds(
    JudgmentForm,
    **dict.fromkeys(("key", "assignment_id", "lease_token", "choice", "both_bad"), TEXTS),
    **dict.fromkeys(("thumb", "text", "comment"), TEXTS),
    **{name: st.lists(TEXTS, max_size=5) for name in ("ranks", "criteria", "ratings")},
    **{name: st.lists(TEXTS, max_size=5) for name in ("reasons", "flags")},
    kind=st.sampled_from(list(JudgmentKind)) | TEXTS,
)


@given(FORMS)
def test_any_text_in_any_field_is_a_judgment_or_refused(form: JudgmentForm) -> None:
    try:
        submission = submission_of(form)
    except Invalid:
        return
    assert submission.body.kind == form.kind
    assert 0 <= submission.assignment_id <= ROW_ID_MOST


@given(st.builds(SkipForm, assignment_id=TEXTS, reason=TEXTS, comment=TEXTS))
def test_any_text_in_a_skip_is_a_skip_or_refused(form: SkipForm) -> None:
    with suppress(Invalid):
        assert skip_of(form).assignment_id == int(form.assignment_id or 0)


@given(st.builds(SettlementForm, preferred=TEXTS, ranks=st.lists(TEXTS, max_size=11)))
def test_any_text_in_a_settlement_is_a_settlement_or_refused(form: SettlementForm) -> None:
    for kind in PAGE_KINDS.values():
        with suppress(Invalid):
            assert kind.settle is None or kind.settle(form).kind == kind.name


def test_a_text_keeps_its_first_empty_line() -> None:
    """A form field drops an empty first line, so the page prints one more."""
    form = JudgmentForm(kind="write", text="\r\nAfter a blank.")
    assert submission_of(form).body == WriteBody("\nAfter a blank.")


def test_ratings_in_words_leave_out_names_without_a_completion() -> None:
    assert in_words(RateBody({"good": (4, 2)}), range(9), "ABCDEFGHI") == "good 4 · 2"

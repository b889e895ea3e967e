"""Each kind of judgment, all the way: submitted = database = history = agreement = export."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Comparison, Judgment, Role, User
from app.services.datasets import demonstrations
from app.services.people import accounts
from app.services.project import criteria, projects
from app.services.project.criteria import CriterionSettings
from app.settings import Settings
from tests.services import sample, sample_votes

SignIn = Callable[..., TestClient]
PROJECT = "/api/v1/projects/desk"
API = f"{PROJECT}/assignments"

ANSWERS: dict[str, dict[str, Any]] = {
    "pick": {"preferred": "b", "strength": 3, "both_bad": True},
    "rank": {"ranking": [2, 1, 2, 4], "both_bad": False},
    "rate": {"ratings": {"true": [5, 1, 3], "kind": [1, 2, 3]}},
    "thumbs": {"thumb": "down", "reasons": ["wrong", "unclear"]},
    "write": {"text": " Because\n\nit *rains* — “often”. "},
    "edit": {"text": "Because it rains."},
}
CHANGED: dict[str, dict[str, Any]] = {
    "pick": {"preferred": None, "strength": None, "both_bad": True},
    "rank": {"ranking": None, "both_bad": True},
    "rate": {"ratings": {"true": [1, 1, 1], "kind": [5, 5, 5]}},
    "thumbs": {"thumb": "up", "reasons": []},
    "write": {"text": "I do not know."},
    "edit": {"text": "It rains."},
}
K = {"pick": 2, "rank": 4, "rate": 3, "thumbs": 1, "write": 0, "edit": 1}
KINDS = list(ANSWERS)


@pytest.fixture
def database(any_database: Database) -> Database:
    """Give each database in turn to the application too."""
    return any_database


@pytest.fixture
def settings(tmp_path: Path, any_url: str) -> Settings:
    return Settings(data_dir=tmp_path, database_url=any_url, secret_key="s" * 40)


@pytest.fixture
def desk(sign_in: SignIn, database: Database) -> Callable[[str], TestClient]:
    """Give a function that opens a project of a kind to a labeler."""

    def opened(kind: str, **columns: Any) -> TestClient:
        browser = sign_in("ada")
        with database.transaction() as session:
            project = sample.make_project(
                session, slug="desk", judgment_kind=JudgmentKind(kind), k=K[kind], **columns
            )
            if kind == "rate":
                wanted = [CriterionSettings("true", "Is it?", weight=3), CriterionSettings("kind")]
                criteria.arrange(session, project, wanted, actor_id=None)
            user = session.scalars(select(User)).one()
            accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
            sample.read_guidelines(session, project, user.id)
            for _ in range(2):
                sample.make_comparison(session, project)
        return browser

    return opened


def claim(browser: TestClient) -> dict[str, Any]:
    (assignment,) = browser.post(API, json={"rendered": True}).json()["assignments"]
    found: dict[str, Any] = assignment
    return found


def submit(browser: TestClient, assignment: dict[str, Any], key: str, **answer: Any) -> Any:
    body = {"lease_token": assignment["lease_token"], "key": key, "answer": answer}
    return browser.post(f"{API}/{assignment['id']}/submission", json=body)


def exported(database: Database, format: str) -> list[dict[str, Any]]:
    return sample_votes.exported(database, "desk", format)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_the_same_wherever_it_is_read_changed_and_taken_back(
    desk: Callable[[str], TestClient], database: Database, kind: str
) -> None:
    browser = desk(kind)
    assignment = claim(browser)
    _check_asked(assignment, kind)
    assert submit(browser, assignment, "first-key", kind=kind, **ANSWERS[kind]).status_code == 200
    _check_read_everywhere(browser, database, kind)
    _check_undone_and_changed(browser, database, kind)
    _check_refused_and_skipped(browser, kind)


def _check_asked(assignment: dict[str, Any], kind: str) -> None:
    assert (assignment["kind"], len(assignment["candidates"])) == (kind, K[kind])
    asked = [one["name"] for one in assignment["criteria"]]
    assert asked == (["true", "kind"] if kind == "rate" else [])
    assert set(assignment["reasons"]) == ({"up", "down"} if kind == "thumbs" else set())


def _check_read_everywhere(browser: TestClient, database: Database, kind: str) -> None:
    given = ANSWERS[kind]
    with database.reader() as session:
        (row,) = session.scalars(select(Judgment))
        assert {name: getattr(row, name) for name in given} == given
    (entry,) = browser.get(f"{PROJECT}/judgments").json()
    assert entry["answer"] == {"kind": kind, **given}
    (line,) = exported(database, "rich")
    (vote,) = line["individual_preference"]
    said = given | ({"ranking": [2, 1]} if kind == "pick" else {})
    assert {name: vote[name] for name in said if name != "preferred"} == {
        name: value for name, value in said.items() if name != "preferred"
    }


def _check_undone_and_changed(browser: TestClient, database: Database, kind: str) -> None:
    opened = browser.post(f"{API}/undo", json={"key": "undo-key"}).json()
    assert opened["previous"]["answer"] == {"kind": kind, **ANSWERS[kind]}
    outcome = submit(browser, opened, "second-key", kind=kind, **CHANGED[kind]).json()
    same = submit(browser, opened, "second-key", kind=kind, **CHANGED[kind])
    assert same.json() == outcome
    assert submit(browser, opened, "second-key", kind=kind, **ANSWERS[kind]).status_code == 409
    url = f"{PROJECT}/judgments"
    body = {"key": "third-key", "answer": {"kind": kind, **ANSWERS[kind]}}
    changed = browser.put(f"{url}/{outcome['judgment_id']}", json=body).json()
    assert browser.get(url).json()[0]["answer"] == {"kind": kind, **ANSWERS[kind]}
    assert len(exported(database, "rich")) == 1
    browser.post(f"{url}/{changed['judgment_id']}/retraction", json={"key": "fourth-key"})
    assert exported(database, "rich") == []


def _check_refused_and_skipped(browser: TestClient, kind: str) -> None:
    assignment = claim(browser)
    other = "thumbs" if kind != "thumbs" else "edit"
    refused = submit(browser, assignment, "fifth-key", kind=other, **ANSWERS[other])
    assert (refused.status_code, "this comparison asks for" in refused.text) == (422, True)
    skip = {"key": "skip-key", "lease_token": assignment["lease_token"], "reason": "unclear"}
    assert browser.post(f"{API}/{assignment['id']}/skip", json=skip).status_code == 204
    assert browser.post(API, json={}).json()["assignments"] == []


def test_what_each_kind_teaches_goes_out_in_its_formats(
    desk: Callable[[str], TestClient], database: Database
) -> None:
    browser = desk("edit")
    assignment = claim(browser)
    original = assignment["candidates"][0]["text"]
    refused = submit(browser, assignment, "first-key", kind="edit", text=original)
    assert (refused.status_code, "completion's own" in refused.text) == (422, True)
    submit(browser, assignment, "second-key", kind="edit", text="Better.")
    (pair,) = exported(database, "trl-explicit")
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("Better.", original)
    (shown,) = exported(database, "demonstrations")
    assert shown["messages"][-1] == {"role": "assistant", "content": "Better."}
    with database.reader() as session:
        project = projects.by_slug(session, "desk")
        assert demonstrations.count(session, project.id) == 1


def test_a_rating_needs_every_criterion_in_use(desk: Callable[[str], TestClient]) -> None:
    browser = desk("rate")
    assignment = claim(browser)
    half = submit(browser, assignment, "first-key", kind="rate", ratings={"true": [1, 2, 3]})
    assert (half.status_code, "nothing is rated on 'kind'" in half.text) == (422, True)
    high = submit(
        browser, assignment, "other-key", kind="rate", ratings={"true": [1, 2, 6], "kind": [1] * 3}
    )
    assert (high.status_code, "1 to 5, not 6" in high.text) == (422, True)


def test_leads_see_every_kind_in_words(
    desk: Callable[[str], TestClient], database: Database
) -> None:
    browser = desk("rate")
    assignment = claim(browser)
    submit(browser, assignment, "first-key", kind="rate", **ANSWERS["rate"])
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        user = session.scalars(select(User)).one()
        accounts.add_member(session, project.id, user.id, Role.LEAD, actor_id=user.id)
        comparison = session.scalars(select(Comparison).where(Comparison.done_slots == 1)).one()
    page = browser.get(f"/p/desk/comparisons/{comparison.id}", headers={"accept": "text/html"})
    assert "kind 1.0, true 5.0" in page.text
    report = browser.get(f"{PROJECT}/agreement").json()
    assert (report["kinds"], [one["name"] for one in report["ratings"]]) == (
        {"rate": 1},
        ["kind", "true"],
    )
    shown = browser.get("/p/desk/agreement", headers={"accept": "text/html"}).text
    assert "No response has been rated by two or more labelers yet" in shown

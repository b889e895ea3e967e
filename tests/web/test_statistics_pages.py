"""The agreement and labelers pages: figures of each kind, weightings, and remarks in words."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.models import Role, User
from app.services.people import accounts
from app.services.project import projects
from tests.services.sample_votes import make_comparison, vote

SignIn = Callable[..., TestClient]
KAPPAS = "Cohen's kappa of every two labelers"


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a browser signed in as the lead of the project desk."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        projects.create(session, name="Desk", owner=user)
    return browser


def shown(browser: TestClient, page: str) -> str:
    answer = browser.get(f"/p/desk/{page}", headers={"accept": "text/html"})
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.text.replace("&#39;", "'"))


def judge(database: Database, *said: tuple[str, ...]) -> None:
    """Judge a comparison for each tuple of picks, by labelers in order."""
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        people = [
            accounts.create_user(session, email=f"p{n}@example.org", name="P", password=None)
            for n in range(max(map(len, said)))
        ]
        for one in people:
            accounts.add_member(session, project.id, one.id, Role.LABELER, actor_id=None)
        for number, picks in enumerate(said):
            comparison = make_comparison(session, project, overlap=len(picks))
            for who, pick in zip(people, picks, strict=False):
                order = (0, 1) if number // 2 % 2 else (1, 0)  # apart from the picks
                vote(session, comparison, who, preferred=pick, shown_order=order)


def test_both_alphas_are_shown_only_where_they_differ(lead: TestClient, database: Database) -> None:
    judge(database, *[("a", "a", "a", "b")] * 3, *[("a", "b")] * 3, *[("a", "a", "a")] * 3)
    text = shown(lead, "agreement")
    assert "Alpha, comparisons counted equally" in text
    assert "counts each judgment of a pair the same, as published" in text
    assert "Fleiss' kappa" in text
    assert "clustered by prompt" in text


def test_equal_overlap_shows_one_alpha(lead: TestClient, database: Database) -> None:
    judge(database, *[("a", "a")] * 3, *[("a", "b")] * 2)
    text = shown(lead, "agreement")
    assert "Alpha, comparisons counted equally" not in text
    assert "Cohen's kappa" in text


def test_ties_alone_are_not_called_unjudged(lead: TestClient, database: Database) -> None:
    judge(database, *[("tie", "tie")] * 3)
    text = shown(lead, "agreement")
    assert "Not defined: every judgment is a tie, so nobody chose between two responses." in text
    assert "no comparison has two judgments" not in text


def test_a_contrary_labeler_is_named_on_both_pages(lead: TestClient, database: Database) -> None:
    judge(database, *[("a", "a", "b"), ("b", "b", "a")] * 20)
    assert "chooses as the others do 0 %" in shown(lead, "agreement")
    labelers = shown(lead, "labelers")
    assert labelers.count(">check</a>") == 1
    assert "Chose longer" in labelers
    assert "others " in labelers


def test_kappas_of_thumbs_stand_beside_their_alpha(lead: TestClient, database: Database) -> None:
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        owner = session.scalars(select(User)).one()
        other = accounts.create_user(session, email="o@example.org", name="O", password=None)
        accounts.add_member(session, project.id, other.id, Role.LABELER, actor_id=None)
        for n in range(30):
            comparison = make_comparison(
                session, project, ("one",), overlap=2, kind=JudgmentKind.THUMBS
            )
            for who, is_up in ((owner, n < 15), (other, n < 18)):
                vote(session, comparison, who, thumb="up" if is_up else "down", shown_order=(0,))
    text = shown(lead, "agreement")
    assert "Fleiss' kappa of thumbs" in text
    assert KAPPAS in text
    thumbs = lead.get("/api/v1/projects/desk/agreement").json()["thumbs"]
    # Observed 0.9; expected 0.5 * 0.6 + 0.5 * 0.4.
    assert thumbs["pairs"][0]["kappa"]["value"] == pytest.approx((0.9 - 0.5) / 0.5)
    assert thumbs["fleiss"]["value"] is not None

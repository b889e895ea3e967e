"""The agreement API has every figure of the reports, by name, and cuts them as the page does."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.measures import Interval, Measure, Undefined
from app.models import User
from app.services.project import projects
from app.web import figures
from tests.services.sample_votes import make_comparison, vote

SignIn = Callable[..., TestClient]
API = "/api/v1/projects/desk"


@dataclass(frozen=True)
class Part:
    """Stands for a part of a report."""

    tau: Measure


@dataclass(frozen=True)
class Whole:
    """Stands for a report."""

    judgments: int
    raw: Measure
    fleiss: float | Undefined
    cohen: float | Undefined
    ranks: Part
    groups: tuple[Part, ...]


def test_every_figure_has_its_name() -> None:
    raw = Measure(0.5, Interval(0.4, 0.6), 7)
    found = figures.named(Whole(3, raw, 0.25, Undefined("few"), Part(raw), (Part(raw),)))
    assert list(found) == ["raw", "fleiss", "cohen", "ranks.tau"]
    assert (found["fleiss"].value, found["cohen"].value) == (0.25, Undefined("few"))
    assert found["ranks.tau"] is raw


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user)
        for _ in range(2):
            vote(session, make_comparison(session, project), user, preferred="a")
    first = browser.get(f"{API}/prompts").json()["prompts"][0]["id"]
    for action, value in (("categorize", "math"), ("tag", "hard")):
        body = {"action": action, "value": value, "ids": [first]}
        assert browser.post(f"{API}/prompts/edits", json=body).json()["changed"] == 1
    return browser


def test_the_api_has_the_figures_of_the_page(lead: TestClient) -> None:
    report = lead.get(f"{API}/agreement").json()
    assert {"raw", "alpha", "cohen", "fleiss", "ranks.tau", "coverage"} <= set(report["figures"])
    assert report["figures"]["raw"] == report["raw"]
    assert report["over_time"] == []
    (labeler,) = report["by_labeler"]
    assert labeler["thumbs_up"]["reason"] == "no thumb given"
    assert labeler["figures"]["first_place"] == labeler["first_place"]


def test_the_api_cuts_agreement_by_category_and_tag(lead: TestClient) -> None:
    report = lead.get(f"{API}/agreement").json()
    assert [group["name"] for group in report["categories"]] == ["(none)", "math"]
    for query in ("category=math", "tag=hard", "category=math&category=poems", "category=(none)"):
        assert lead.get(f"{API}/agreement?{query}").json()["judgments"] == 1, query
    assert lead.get(f"{API}/agreement?tag=easy").json()["judgments"] == 0
    page = lead.get("/p/desk/agreement", headers={"accept": "text/html"}).text
    assert "<th>Category</th>" in page
    empty = lead.get("/p/desk/agreement?tag=easy", headers={"accept": "text/html"}).text
    assert "No judgments in this selection" in empty

"""Comparisons that a rule chose: why, on their page and in the API, and figures without them."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.choosing import ChoiceRule, Chosen
from app.models import Comparison, User
from app.services.project import projects
from tests.services.sample_votes import exported, make_comparison, vote

SignIn = Callable[..., TestClient]
CHOSEN = Chosen(ChoiceRule.DISAGREEMENT, 0.8, 40, 400, "Reward 1")
WHY = "chosen: the models of Reward 1 disagree (std 0.80), top 10 % of 400"


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give the browser of a lead whose second of two comparisons was chosen."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user)
        for chosen in (None, CHOSEN.to_json()):
            comparison = make_comparison(session, project)
            comparison.chosen = chosen
            vote(session, comparison, user, preferred="a")
    return browser


def shown(browser: TestClient, page: str) -> str:
    answer = browser.get(f"/p/desk/{page}", headers={"accept": "text/html"})
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.text)


def test_the_reason_is_on_the_page_in_the_list_and_in_the_export(
    lead: TestClient, database: Database
) -> None:
    with database.reader() as session:
        first, second = session.scalars(select(Comparison.id).order_by(Comparison.id)).all()
    assert f'<p class="quiet">C{WHY[1:]}.</p>' in shown(lead, f"comparisons/{second}")
    assert "at random" not in shown(lead, f"comparisons/{first}")  # it belongs to no round
    rows = lead.get("/api/v1/projects/desk/comparisons").json()["comparisons"]
    assert [(row["chosen"], row["why"]) for row in rows] == [(None, ""), (CHOSEN.to_json(), WHY)]
    lines = exported(database, "desk", "rich")
    assert [line.get("chosen") for line in lines] == [None, CHOSEN.to_json()]


def test_figures_leave_chosen_comparisons_out_say_so_and_can_include_them(
    lead: TestClient,
) -> None:
    page = shown(lead, "agreement?category=(none)")
    assert "1 judgment on comparisons that a rule chose is left out" in page
    assert '<a href="?category=%28none%29&amp;chosen=1">Include them</a>' in page
    included = shown(lead, "agreement?category=(none)&chosen=1")
    assert "These figures include 1 judgment on comparisons that a rule chose" in included
    assert '<input type="hidden" name="chosen" value="1">' in included
    for query, judgments in (("", 1), ("?chosen=true", 2)):
        report = lead.get(f"/api/v1/projects/desk/agreement{query}").json()
        assert (report["judgments"], report["chosen"]) == (judgments, 1)


def test_the_launch_form_says_why_nothing_would_be_chosen_and_marks_a_bad_share(
    lead: TestClient,
) -> None:
    page = shown(lead, "rounds/new?asked=1&choose_rule=uncertainty&choose_share=81")
    assert 'id="choose_share-problem">The chosen share in percent must be 0 to 80, not 81.' in page
    assert 'value="uncertainty" selected' in page
    page = shown(lead, "rounds/new?asked=1&choose_rule=uncertainty")
    said = (
        "All comparisons will be drawn at random: no earlier round has a reward model to choose by"
    )
    assert said in page

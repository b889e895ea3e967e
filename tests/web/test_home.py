"""Home: how much is left to judge, and what waits for a lead."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.db import Database
from app.domain.assignment import QueueState
from app.domain.states import RoundState
from app.models import Comparison, Guidelines, Membership, Project, Role, User
from app.services.people import accounts
from app.web.pages.home import ProjectCard
from tests.services import sample, sample_votes
from tests.services.rounds import trained

HTML = {"accept": "text/html"}
ROUNDS = {
    "checked": [RoundState.GATED],
    "decided": [RoundState.HELD, RoundState.DECIDING],
    "failed": [RoundState.FAILED],
    "labeling": [RoundState.LABELING],
    "over": [RoundState.FAILED, RoundState.PROMOTED],
}


@pytest.mark.parametrize(
    ("count", "is_exact", "left"),
    [
        (1, True, "1 comparison to judge"),
        (38, True, "38 comparisons to judge"),
        (203, False, "200+ comparisons to judge"),
        (1_203, False, "1,200+ comparisons to judge"),
    ],
)
def test_a_count_that_is_not_exact_is_rounded_down(count: int, is_exact: bool, left: str) -> None:
    queue = QueueState(
        open=count,
        is_open_exact=is_exact,
        held=0,
        judged=0,
        skipped=0,
        total=count,
        with_others=0,
        next_free_s=None,
    )
    card = ProjectCard(Project(), False, True, 0, queue, False, None)
    assert card.left == left


def test_a_lead_sees_which_newest_rounds_wait_and_a_labeler_does_not(
    sign_in: Callable[..., TestClient], database: Database
) -> None:
    lead, labeler = sign_in("lead"), sign_in("labeler")
    with database.transaction() as session:
        users = session.scalars(select(User).order_by(User.id)).all()
        for slug, states in ROUNDS.items():
            project = sample.make_project(session, slug=slug)
            for user, role in zip(users, (Role.LEAD, Role.LABELER), strict=True):
                accounts.add_member(session, project.id, user.id, role, actor_id=None)
            for number, state in enumerate(states, start=1):
                trained.add_round(session, project, number, state=state)
    links = r'<a href="/p/(\w+)/rounds/(\d)">([^<]+)</a>'
    assert sorted(re.findall(links, lead.get("/", headers=HTML).text)) == [
        ("checked", "1", "Round 1 waits at a check: choose what to do"),
        ("decided", "2", "Round 2 is evaluated: promote or hold its policy"),
        ("failed", "1", "Round 1 has failed: retry or cancel it"),
    ]
    assert re.findall(links, labeler.get("/", headers=HTML).text) == []


def test_a_lead_sees_what_all_labelers_judged_and_no_empty_bar_where_nothing_is_left(
    sign_in: Callable[..., TestClient], database: Database
) -> None:
    lead, admin = sign_in("lead"), sign_in("root", is_admin=True)
    labeler = sign_in("labeler")
    with database.transaction() as session:
        users = session.scalars(select(User).order_by(User.id)).all()
        project = sample.make_project(session, slug="desk", overlap=1)
        empty = sample.make_project(session, slug="empty")
        for one in (project, empty):
            accounts.add_member(session, one.id, users[0].id, Role.LEAD, actor_id=None)
        accounts.add_member(session, project.id, users[2].id, Role.LABELER, actor_id=None)
        for number in range(3):
            comparison = sample_votes.make_comparison(session, project)
            if number < 2:
                sample_votes.vote(session, comparison, users[2], preferred="a")
        session.execute(update(Guidelines).values(rules=" ", edge_cases="", body=""))
        session.execute(update(Membership).values(guidelines_read_version=0))
    home = _cards(lead)
    assert "2 judgments today" in home["desk"]
    assert "1 comparison to judge" in home["desk"]
    assert "<progress" in home["desk"], "judged by the lead, of all"
    assert "No judgments today" in home["empty"]
    assert "1 comparison to judge · 2 judgments today" in _cards(admin)["desk"]
    assert "Nothing to judge · no judgments today" in _cards(admin)["empty"]
    assert "2 judgments today" not in _cards(labeler)["desk"]
    assert "2 today · 2 of 3 in total" in _cards(labeler)["desk"]
    with database.transaction() as session:
        last = session.scalars(select(Comparison).where(Comparison.is_open)).one()
        user = session.scalars(select(User).where(User.id == users[2].id)).one()
        sample_votes.vote(session, last, user, preferred="a")
    card = _cards(lead)["desk"]
    assert "3 comparisons have all the judgments they need." in card
    assert "<progress" not in card
    assert "new guidelines" not in card, "nothing was written"


def _cards(browser: TestClient) -> dict[str, str]:
    """Return the cards of the home page by the project's short name, without line breaks."""
    text = re.sub(r"\s+", " ", browser.get("/", headers=HTML).text)
    cards = re.findall(r'<article class="card project">.*?</article>', text)
    return {re.findall(r'href="/p/([\w-]+)', card)[0]: card for card in cards}

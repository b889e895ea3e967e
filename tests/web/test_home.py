"""Home: how much is left to judge, and what waits for a lead."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.assignment import QueueState
from app.domain.states import RoundState
from app.models import Project, Role, User
from app.services.people import accounts
from app.web.pages.home import ProjectCard
from tests.services import sample
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

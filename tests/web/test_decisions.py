"""The decision of a round: the evaluation recommends one, and the other one is confirmed."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import RoundState
from app.models import Purpose, Round, User
from app.services.project import projects
from app.services.queue import comparisons
from tests.services.sample_votes import make_comparison, vote
from tests.web.test_evaluation_cuts import evaluation

SignIn = Callable[..., TestClient]
ALIKE = "They look like any other comparison."


@pytest.mark.parametrize(
    ("wins", "losses", "verdict", "main"),
    [
        (2, 2, "No evidence of improvement (50 % [", "false"),
        (9, 1, "The new policy is better (90 % [", "true"),
        (0, 0, "Promote or hold", None),
    ],
)
def test_only_the_recommended_button_is_primary_and_the_other_asks(
    sign_in: SignIn, database: Database, wins: int, losses: int, verdict: str, main: str | None
) -> None:
    lead = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user)
        running = evaluation(session, project)
        session.scalars(select(Round)).one().state = RoundState.DECIDING
        if not wins:
            session.delete(running)
        for at in range(wins + losses):
            comparison = make_comparison(
                session, project, purpose=Purpose.EVALUATION, evaluation_id=running.id
            )
            first, second = comparisons.completions_of(session, comparison.id)
            first.checkpoint_id = running.new_checkpoint_id
            second.checkpoint_id = running.old_checkpoint_id
            vote(session, comparison, user, preferred="a" if at < wins else "b")
    page = lead.get("/p/desk/rounds/1", headers={"accept": "text/html"}).text
    assert verdict in page
    tags = re.findall(r'<button [^>]*name="promote"[^>]*>', page)
    primary = [tag for tag in tags if "btn main" in tag]
    asking = [tag for tag in tags if "data-confirm" in tag]
    assert len(tags) == 2
    if main is None:
        assert not primary
        assert not asking
        return
    assert [f'value="{main}"' in tag for tag in primary] == [True]
    assert [f'value="{main}"' in tag for tag in asking] == [False]
    assert verdict[:25] in asking[0]


@pytest.mark.parametrize(
    ("kind", "k", "promise"),
    [
        ("pick", 2, ALIKE),
        ("rank", 2, ALIKE),
        ("rank", 4, "They look like any other ranking of two responses; the others have up to 4."),
        ("thumbs", 1, "so they can tell an evaluation"),
    ],
)
def test_settings_promise_only_what_holds_for_the_kind(
    sign_in: SignIn, database: Database, kind: str, k: int, promise: str
) -> None:
    lead = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        projects.create(
            session,
            name="Desk",
            owner=user,
            judgment_kind=JudgmentKind(kind),
            k=k,
        )
    page = lead.get("/p/desk/settings", headers={"accept": "text/html"}).text
    assert promise in page
    assert (ALIKE in page) is (promise == ALIKE)

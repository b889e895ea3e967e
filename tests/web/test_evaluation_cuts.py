"""An evaluation's page and API show the results by category, and by a tag that is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db import Database, now
from app.models import Checkpoint, CheckpointKind, Evaluation, Project, Prompt, Purpose, Round, User
from app.services.project import projects
from app.services.queue import comparisons
from app.services.rounds import evaluations
from tests.services.sample_votes import make_comparison, vote

SignIn = Callable[..., TestClient]


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    """Give a lead's browser: the new policy wins on a math prompt and loses on a plain one."""
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user)
        running = evaluation(session, project)
        for category, wins in (("math", True), ("", False)):
            comparison = make_comparison(
                session, project, purpose=Purpose.EVALUATION, evaluation_id=running.id
            )
            session.get_one(Prompt, comparison.prompt_id).category = category
            first, second = comparisons.completions_of(session, comparison.id)
            first.checkpoint_id = running.new_checkpoint_id
            second.checkpoint_id = running.old_checkpoint_id
            vote(session, comparison, user, preferred="a" if wins else "b")
    return browser


def evaluation(session: Session, project: Project) -> Evaluation:
    row = Round(project_id=project.id, number=1, plan={}, created_at=now(session))
    models = [
        Checkpoint(
            project_id=project.id,
            kind=CheckpointKind.POLICY,
            name=f"Policy {n}",
            uri=f"policy/{n}",
            created_at=now(session),
        )
        for n in (1, 2)
    ]
    session.add_all([row, *models])
    session.flush()
    return evaluations.open_evaluation(session, row, models[0].id, models[1].id)


def test_the_page_has_a_table_by_category_and_filters(lead: TestClient) -> None:
    page = lead.get("/p/desk/evaluations/1", headers={"accept": "text/html"}).text
    assert "By category" in page
    assert "(none)" in page
    cut = lead.get("/p/desk/evaluations/1?category=math", headers={"accept": "text/html"}).text
    assert "<b>100.0\N{NO-BREAK SPACE}%</b>" in cut
    assert "cover only the prompts with this category or tag" in cut


def test_the_api_has_the_same(lead: TestClient) -> None:
    def got(query: str = "") -> Any:
        return lead.get(f"/api/v1/projects/desk/evaluations/1{query}").json()

    assert {name: found["share"] for name, found in got()["by_category"].items()} == {
        "(none)": 0.0,
        "math": 1.0,
    }
    assert got()["results"]["share"] == 0.5
    assert got("?category=math")["results"]["share"] == 1.0
    assert got("?tag=hard")["results"]["share"] is None

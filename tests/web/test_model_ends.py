"""A model's page shows the tokens that end its responses, or when they will be known."""

from collections.abc import Callable

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database, now
from app.models import Checkpoint, CheckpointKind, User
from app.services.project import projects

TURN, TEXT = {"id": 106, "token": "<end_of_turn>"}, {"id": 1, "token": "<eos>"}


@pytest.mark.parametrize(
    ("ends", "shown", "absent"),
    [
        ([TURN, TEXT], "<code>&lt;end_of_turn&gt;</code> (106), <code>&lt;eos&gt;</code> (1)", ""),
        ([TEXT], "<code>&lt;eos&gt;</code> (1)", "the first is written"),
        ([], "Not known yet", "the first is written"),
    ],
)
def test_the_page_lists_each_end_with_its_id(
    sign_in: Callable[..., TestClient],
    database: Database,
    ends: list[dict[str, object]],
    shown: str,
    absent: str,
) -> None:
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user)
        model = Checkpoint(
            project_id=project.id,
            kind=CheckpointKind.BASE,
            name="Base 1",
            uri="somebody/model",
            config={"ends": ends} if ends else {},
            created_at=now(session),
        )
        session.add(model)
        session.flush()
        model_id = model.id
    page = browser.get(f"/p/desk/models/{model_id}", headers={"accept": "text/html"}).text
    assert shown in " ".join(page.split())
    assert not absent or absent not in page

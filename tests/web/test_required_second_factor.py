"""Where two-factor authentication is required, the queue's own authentication requires it too."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.models import Role, User
from app.services.people import accounts
from app.settings import Settings
from tests.services import sample


@pytest.fixture
def database(any_database: Database) -> Database:
    """Give each database in turn to the application too."""
    return any_database


@pytest.fixture
def settings(tmp_path: Path, any_url: str) -> Settings:
    return Settings(
        data_dir=tmp_path, database_url=any_url, secret_key="s" * 40, require_two_factor=True
    )


@pytest.mark.parametrize(("role", "status"), [(Role.LABELER, 200), (Role.LEAD, 403)])
def test_a_browser_of_a_lead_judges_nothing_and_a_token_does(
    sign_in: Callable[..., TestClient], database: Database, role: Role, status: int
) -> None:
    browser = sign_in("ada")
    with database.transaction() as session:
        project = sample.make_project(session, slug="desk")
        user = session.scalars(select(User).where(User.email == "ada@example.org")).one()
        accounts.add_member(session, project.id, user.id, role, actor_id=None)
        secret = accounts.create_token(session, user, name="x", scopes=["label"]).secret
    queue = "/api/v1/projects/desk/assignments/exchange"
    assert browser.post(queue, json={}).status_code == status
    script = {"authorization": f"Bearer {secret}"}
    assert browser.post(queue, json={}, headers=script).status_code == 200

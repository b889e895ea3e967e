"""When a session or a token was last used is noted, to the hour, whichever way it is used."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.db import Database, now
from app.models import ApiToken, LoginSession, Role, User
from app.services.people import accounts
from app.settings import Settings
from tests.services import sample

SignIn = Callable[..., TestClient]


@pytest.fixture
def database(any_database: Database) -> Database:
    """Give each database in turn to the application too."""
    return any_database


@pytest.fixture
def settings(tmp_path: Path, any_url: str) -> Settings:
    return Settings(data_dir=tmp_path, database_url=any_url, secret_key="s" * 40)


def _age(database: Database, column: Any) -> timedelta | None:
    with database.reader() as session:
        last: datetime | None = session.scalars(select(column)).one()
        return now(session) - last if last is not None else None


def test_the_last_use_of_sessions_and_tokens_is_noted_to_the_hour(
    sign_in: SignIn, database: Database
) -> None:
    browser = sign_in("ada")
    with database.transaction() as session:
        sample.make_project(session, slug="desk")
        user = session.scalars(select(User).where(User.email == "ada@example.org")).one()
        project = sample.make_project(session, slug="shop")
        accounts.add_member(session, project.id, user.id, Role.LABELER, actor_id=None)
        token = accounts.create_token(session, user, name="x", scopes=["label", "read"])
    script = {"authorization": f"Bearer {token.secret}"}
    queue = "/api/v1/projects/shop/assignments/exchange"  # authenticated in a query of its own
    ways: list[tuple[Any, Callable[[], Any]]] = [
        (LoginSession.last_seen_at, lambda: browser.get("/account")),
        (LoginSession.last_seen_at, lambda: browser.post(queue, json={})),
        (ApiToken.last_used_at, lambda: browser.get("/account", headers=script)),
        (ApiToken.last_used_at, lambda: browser.post(queue, json={}, headers=script)),
    ]
    for column, use in ways:
        for minutes, is_noted in ((50, False), (70, True)):
            with database.transaction() as session:
                then = now(session) - timedelta(minutes=minutes)
                session.execute(update(column.class_).values({column: then}))
            assert use().status_code == 200
            age = _age(database, column)
            assert age is not None
            assert (age < timedelta(minutes=5)) is is_noted, (column, minutes)

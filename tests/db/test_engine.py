"""Connections: pings after idling, startup options, and prepared statements that are kept."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.db import Database, now
from app.models import User
from app.services.people import accounts


@pytest.fixture
def shared(postgres_url: str) -> Iterator[Database]:
    found = Database(postgres_url, pool_size=2, idle_s=60)
    yield found
    found.dispose()


def _end_all(url: str) -> None:
    other = Database(url)
    with other.engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    other.dispose()


@pytest.mark.services
def test_a_web_transaction_that_froze_is_ended_by_the_server(shared: Database) -> None:
    with shared.engine.connect() as connection:
        for name, value in (("idle_in_transaction_session_timeout", "1min"), ("jit", "off")):
            assert connection.execute(text(f"SHOW {name}")).scalar_one() == value


@pytest.mark.services
def test_the_options_of_the_url_stay(postgres_url: str) -> None:
    database = Database(f"{postgres_url}?options=-c%20work_mem%3D7MB", idle_s=5)
    with database.engine.connect() as connection:
        assert connection.execute(text("SHOW work_mem")).scalar_one() == "7MB"
        shown = connection.execute(text("SHOW idle_in_transaction_session_timeout"))
        assert shown.scalar_one() == "5s"
    database.dispose()


@pytest.mark.services
def test_a_connection_that_died_while_it_rested_is_replaced(
    shared: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.engine.IDLE_BEFORE_PING_S", 0.0)
    with shared.reader() as session:
        session.execute(select(User.id)).all()
    _end_all(postgres_url)
    with shared.transaction() as session:
        assert session.execute(select(User.id)).all() == []


@pytest.mark.services
def test_reading_keeps_statements_prepared_and_cannot_write(shared: Database) -> None:
    for _ in range(8):
        with shared.reader() as session:
            session.execute(select(User.id)).all()
    with shared.reader() as session:
        kept = session.execute(text("SELECT statement FROM pg_prepared_statements")).scalars()
        assert any('"user"' in statement for statement in kept)
    with pytest.raises(DBAPIError, match="read-only"), shared.reader() as session:
        session.execute(text("DELETE FROM audit_event"))


@pytest.mark.services
def test_the_databases_clock_is_asked_once_and_counted_on(shared: Database) -> None:
    with shared.transaction() as session:
        first = now(session)
        session.execute(text("SELECT pg_sleep(0.05)"))
        passed = now(session) - first
        asked: timedelta = session.execute(text("SELECT clock_timestamp()")).scalar_one() - first
    assert timedelta(seconds=0.05) <= passed <= asked


def test_others_write_while_somebody_reads_for_long(any_database: Database) -> None:
    count = select(func.count()).select_from(User)
    with any_database.long_reader() as session:
        before = session.scalar(count) or 0
        with any_database.transaction() as writing:
            accounts.create_user(writing, email="a@example.org", name="someone", password=None)
        assert session.scalar(count) == before + 1
        assert session.scalars(select(User.name)).all()[-1] == "someone"


def test_nothing_of_postgresql_is_needed_where_the_database_is_sqlite(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import app.cli.main, app.main, worker.runs.import_\n"
        "from app.db import Database\n"
        f"Database('sqlite:///{tmp_path}/a.sqlite3').dispose()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

"""Two installations of the same kind: one in use, and one that nothing was installed in."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from app.db import Database
from tests.backup.worlds import World
from tests.conftest import unavailable


@pytest.fixture
def world(any_url: str, tmp_path: Path) -> Iterator[World]:
    if not any_url.startswith("sqlite") and shutil.which("pg_dump") is None:
        unavailable("pg_dump is not installed")
    yield from _opened(any_url, tmp_path / "here")


@pytest.fixture
def elsewhere(any_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Provide an installation with no tables, of the same kind as `world`."""
    if any_url.startswith("sqlite"):
        yield from _opened(f"sqlite:///{tmp_path}/elsewhere.sqlite3", tmp_path / "elsewhere")
        return
    server: str = request.getfixturevalue("postgres_server")
    name = f"attune_test_{secrets.token_hex(6)}"
    admin = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield from _opened(f"{server}/{name}", tmp_path / "elsewhere")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def small_world(sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    """Provide an installation on SQLite, for what does not depend on the database."""
    yield from _opened(sqlite_url, tmp_path / "here")


def _opened(url: str, folder: Path) -> Iterator[World]:
    folder.mkdir()
    database = Database(url)
    yield World(database, folder)
    database.dispose()

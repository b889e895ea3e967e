"""A database frozen at one moment: what it holds, and a file with all of it.

Artifacts are copied after the snapshot. They are published before a row names them and are never
deleted, so whatever the snapshot names is there; the other order would miss what was published in
between.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from app.backup import installations, postgres_dumps, sqlite_copies
from app.backup.archives import Report
from app.backup.installations import Installation
from app.db import Database, schema
from app.errors import Invalid
from app.services.checkpoints import stored_artifacts
from app.services.checkpoints.stored_artifacts import NamedArtifact


@dataclass(frozen=True, slots=True)
class DatabaseSnapshot:
    """A database at one moment, and its file in `path`, as it goes into an archive."""

    path: Path
    server: str
    schema_name: str
    revision: str
    rows: dict[str, int]
    named: list[NamedArtifact]
    bytes: int


def size(installation: Installation) -> int:
    """Return about how many bytes a database has."""
    if installation.kind == "sqlite":
        path = installation.database_file
        return path.stat().st_size if path.exists() else 0
    with installation.database() as database, database.engine.connect() as connection:
        query = text("SELECT pg_database_size(current_database())")
        return int(connection.scalar(query) or 0)


@contextmanager
def taken(installation: Installation, work: Path, report: Report) -> Iterator[DatabaseSnapshot]:
    """Freeze the database; its file lies in `work` for as long as the block runs.

    Raises:
        Invalid: the database is empty, damaged, or of a newer version.
        Unavailable: it does not respond, or a program for it is missing.
    """
    freeze = _sqlite if installation.kind == "sqlite" else _postgres
    snapshot = freeze(installation, work, report)
    try:
        yield snapshot
    finally:
        snapshot.path.unlink(missing_ok=True)


def _sqlite(installation: Installation, work: Path, report: Report) -> DatabaseSnapshot:
    plain, packed = work / "copy.sqlite3", work / "database.z"
    if not installation.database_file.exists():
        raise Invalid(f"there is no database at {installation.database_file}")
    sqlite_copies.copy(installation.database_file, plain, report)
    database = Database(f"sqlite:///{plain}", pool_size=1)
    try:
        revision = installations.known_revision(schema.revision(database.engine), "the database")
        with database.engine.connect() as connection:
            server = str(connection.scalar(text("SELECT sqlite_version()")))
            rows, named = _contents(connection)
    finally:
        database.dispose()
    sqlite_copies.compress(plain, packed, report)
    total = plain.stat().st_size
    plain.unlink()
    return DatabaseSnapshot(packed, f"SQLite {server}", "", revision, rows, named, total)


def _postgres(installation: Installation, work: Path, report: Report) -> DatabaseSnapshot:
    dump = work / "database.dump"
    with installation.database() as database:
        revision = installations.known_revision(schema.revision(database.engine), "the database")
        frozen = database.engine.execution_options(isolation_level="REPEATABLE READ")
        with frozen.connect() as connection:
            name = str(connection.scalar(text("SELECT current_schema()")))
            server = str(connection.scalar(text("SHOW server_version")))
            postgres_dumps.dump(database.engine, connection, name, dump, report)
            rows, named = _contents(connection)
    total = dump.stat().st_size
    return DatabaseSnapshot(dump, f"PostgreSQL {server}", name, revision, rows, named, total)


def _contents(connection: Connection) -> tuple[dict[str, int], list[NamedArtifact]]:
    with Session(connection, autoflush=False) as session:
        return installations.rows(connection), stored_artifacts.named(session)

"""What is read from SQLite, without a clock: how much it costs, and whether others must wait."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from app.db import Database


@dataclass
class Commits:
    """Before which statements somebody else tried to commit, and after which this failed."""

    statements: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)


def steps(session: Session, work: Callable[[], object]) -> int:
    """Count how often SQLite has done ten steps while something was computed."""
    counted: list[int] = []
    session.flush()
    driver: Any = session.connection().connection.driver_connection
    driver.set_progress_handler(lambda: counted.append(1), 10)
    try:
        work()
    finally:
        driver.set_progress_handler(None, 0)
    return len(counted)


@contextmanager
def others_committing(database: Database) -> Iterator[Commits]:
    """Try to commit before each statement of the database, and at the end, without waiting."""
    commits = Commits()
    others = sqlite3.connect(
        database.engine.url.database or "", 0, isolation_level=None, check_same_thread=False
    )

    def commit(connection: Connection | None, _cursor: object, statement: str, *_: object) -> None:
        # Servers of other tests may still be at work on databases of their own.
        if connection is not None and connection.engine.url != database.engine.url:
            return
        try:
            others.execute("BEGIN EXCLUSIVE")
            others.execute("COMMIT")
        except sqlite3.OperationalError:
            commits.held.append(commits.statements[-1])
        commits.statements.append(statement)

    event.listen(Engine, "before_cursor_execute", commit)
    try:
        yield commits
        commit(None, None, "the end")
    finally:
        event.remove(Engine, "before_cursor_execute", commit)
        others.close()

"""Checks that every acknowledged submission of a bench is stored durably.

With `synchronous_commit` and `fsync` on, a commit returns only after its log has been flushed. Both
settings are read over a connection with the server's role, and the database's count of flushes must
increase by at least one for each group of commits that can share a flush. After the run, every
acknowledged submission must exist as a row.
"""

from dataclasses import dataclass

from sqlalchemy import func, select, text

from app.db import Database
from app.errors import Invalid
from app.models import Judgment

_SETTINGS = ("synchronous_commit", "fsync", "full_page_writes")


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """The number of judgment rows and of log flushes so far."""

    judgments: int
    flushes: int


def count_stored(database: Database) -> StoredCounts:
    """Count rows and flushes on a server that acknowledges only what it has written.

    Raises:
        Invalid: a setting that makes commits durable is off.
    """
    with database.engine.connect() as connection:
        for name in _SETTINGS:
            value = connection.execute(text(f"SHOW {name}")).scalar_one()
            if value != "on":
                raise Invalid(f"a durable measurement needs {name} to be on, not {value}")
        judgments = connection.execute(select(func.count()).select_from(Judgment.__table__))
        flushes = connection.execute(text("SELECT wal_sync FROM pg_stat_wal"))
        return StoredCounts(judgments.scalar_one(), flushes.scalar_one())


def check(before: StoredCounts, after: StoredCounts, *, acknowledged: int, at_once: int) -> None:
    """Check that every acknowledged submission is a row and was flushed.

    Raises:
        Invalid: rows or flushes are missing.
    """
    rows, flushes = after.judgments - before.judgments, after.flushes - before.flushes
    if rows < acknowledged:
        raise Invalid(f"of {acknowledged} acknowledged submissions, {rows} are stored as rows")
    if flushes * at_once < acknowledged:
        raise Invalid(
            f"{acknowledged} submissions by {at_once} concurrent labelers caused only {flushes} "
            "log flushes"
        )

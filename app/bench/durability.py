"""How it is checked that an acknowledged submission is on disk, and that none is missing.

A commit returns once its log is flushed where `synchronous_commit` and `fsync` are on; that is read
on connections of the role that the server uses, and the flushes counted by the database must go up
by at least one for each group of commits that can share one. Afterwards every acknowledged
submission must be a row.
"""

from dataclasses import dataclass

from sqlalchemy import func, select, text

from app.db import Database
from app.errors import Invalid
from app.models import Judgment

_SETTINGS = ("synchronous_commit", "fsync", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Seen:
    """Judgments that are rows, and the log's flushes so far."""

    judgments: int
    flushes: int


def look(database: Database) -> Seen:
    """Count rows and flushes; refuse a server that acknowledges before it has written.

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
        return Seen(judgments.scalar_one(), flushes.scalar_one())


def check(before: Seen, after: Seen, *, acknowledged: int, at_once: int) -> None:
    """Refuse a run in which an acknowledgement is missing from the rows or from the disk.

    Raises:
        Invalid: saying what is missing.
    """
    rows, flushes = after.judgments - before.judgments, after.flushes - before.flushes
    if rows < acknowledged:
        raise Invalid(f"{acknowledged} submissions were acknowledged, {rows} are rows")
    if flushes * at_once < acknowledged:
        raise Invalid(f"{acknowledged} submissions by {at_once} at once flushed {flushes} times")

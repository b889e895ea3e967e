"""Tells an unreachable database from a wrong statement."""

from typing import Final

from sqlalchemy.exc import OperationalError, TimeoutError

_SQLITE_OUTAGES: Final = ("locked", "busy", "unable to open", "disk i/o", "is full", "readonly")


def is_outage(error: Exception) -> bool:
    """Whether the database is away (and will be back), rather than the statement wrong.

    SQLite reports a missing table under the same class as a locked file; only its words differ.
    """
    if isinstance(error, TimeoutError):
        return True
    if not isinstance(error, OperationalError):
        return False
    if type(error.orig).__module__ != "sqlite3":
        return True
    return any(words in str(error.orig).lower() for words in _SQLITE_OUTAGES)

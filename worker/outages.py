"""Distinguishes an unreachable database from a faulty statement."""

from typing import Final

from sqlalchemy.exc import OperationalError, TimeoutError

_SQLITE_OUTAGES: Final = ("locked", "busy", "unable to open", "disk i/o", "is full", "readonly")


def is_outage(error: BaseException) -> bool:
    """Whether the database is temporarily unreachable, rather than the statement faulty.

    SQLite reports a missing table under the same class as a locked file; only the messages differ.
    """
    if isinstance(error, TimeoutError):
        return True
    if not isinstance(error, OperationalError):
        return False
    if type(error.orig).__module__ != "sqlite3":
        return True
    return any(words in str(error.orig).lower() for words in _SQLITE_OUTAGES)

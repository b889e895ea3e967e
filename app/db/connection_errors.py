"""What a failed connection to the database says, with what helps."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app.errors import Unavailable

# What PostgreSQL and its client say, and the remedy; the first that occurs counts.
_REMEDIES = (
    ('role "', "create the role, or correct the user in ATTUNE_DATABASE_URL"),
    ('database "', "create it with createdb, or correct the name in ATTUNE_DATABASE_URL"),
    ("password", "correct the user and the password in ATTUNE_DATABASE_URL"),
    ("refused", "start PostgreSQL, or correct the host and port in ATTUNE_DATABASE_URL"),
    ("resolve", "correct the host in ATTUNE_DATABASE_URL"),
)


def is_of_connection(error: SQLAlchemyError) -> bool:
    """Whether no connection could be made, rather than that a statement failed."""
    return isinstance(error, OperationalError) and error.statement is None


def in_words(error: SQLAlchemyError) -> str:
    """Return the first line of an error, and the remedy if no connection could be made."""
    if not is_of_connection(error):
        return str(error).splitlines()[0]
    line = str(getattr(error, "orig", error)).splitlines()[0]
    remedy = next((remedy for words, remedy in _REMEDIES if words in line), "")
    return f"{line}; {remedy}" if remedy else line


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Turn a failed connection into a sentence.

    Raises:
        Unavailable: no connection can be made.
    """
    try:
        yield
    except OperationalError as error:
        if not is_of_connection(error):
            raise
        raise Unavailable(f"the database does not respond: {in_words(error)}") from error

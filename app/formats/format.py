"""What a format is: a name, how to tell its rows, and how to read one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.formats.records import Record, Row


@dataclass(frozen=True, slots=True)
class Format:
    """A format of one row at a time.

    ``recognises`` looks at the fields of a row only; ``read`` raises Invalid with the reason where
    a row is not to be taken, and may give several records.
    """

    name: str
    title: str
    recognises: Callable[[Row], bool]
    read: Callable[[Row], Iterable[Record]]


def has(*keys: str) -> Callable[[Row], bool]:
    """Return a test for rows that have all these fields."""
    return lambda row: all(key in row for key in keys)

"""The definition of a format: its name, how to recognize its rows, and how to read one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.formats.records import Record, Row


@dataclass(frozen=True, slots=True)
class Format:
    """A format that is read row by row.

    ``recognizes`` looks only at the fields of a row. ``read`` may return several records, and
    raises Invalid with the reason if the row must be rejected.
    """

    name: str
    title: str
    recognizes: Callable[[Row], bool]
    read: Callable[[Row], Iterable[Record]]


def has(*keys: str) -> Callable[[Row], bool]:
    """Return a predicate for rows that have all these fields."""
    return lambda row: all(key in row for key in keys)

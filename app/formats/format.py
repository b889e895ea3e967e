"""What a format is: a name, how to tell its rows, how to read one, and which fields it reads."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.formats.records import Record, Rejected, Row

Read = Callable[[Row], Iterable[Record | Rejected]]


class RowReader(Protocol):
    """Reads a format whose rows belong together, such as the messages of a conversation tree.

    Memory must stay bounded. A row that is kept for later is returned by a later call, each record
    with the number of the row that it is about.
    """

    def read(self, number: int, row: Row) -> Iterable[tuple[int, Record | Rejected]]:
        """Take one row; return what is complete."""

    def end(self) -> Iterable[tuple[int, Record | Rejected]]:
        """Return what is left at the end of the file."""


@dataclass(frozen=True, slots=True)
class Needs:
    """A test for rows that have all these fields; of a group any one will do."""

    groups: tuple[tuple[str, ...], ...]

    def __call__(self, row: Row) -> bool:
        """Tell a row that has a field of every group."""
        return not self.missing(row)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the first field of each group that none of these names belongs to."""
        present = set(names)
        return [group[0] for group in self.groups if not present & set(group)]


@dataclass(frozen=True, slots=True)
class Format:
    """A format of one row at a time.

    ``recognises`` looks at the fields of a row only; ``read`` raises Invalid with the reason where
    a row is not to be taken, and may give several records.

    ``fields`` are the fields that ``read`` makes use of, as dotted paths: "completions.text" is the
    field of each object in a list. A path covers what lies under it. ``ignores`` has the fields
    that carry a judgment and are left out on purpose, with the reason. ``keeps_notes`` says that
    other texts and numbers stay with the prompt.

    ``also`` names fields that a row's own content decides on, such as a control by any name.
    ``needs`` are the fields that every row must have, for messages that name the missing one.
    ``start`` replaces ``read`` in formats whose rows belong together.
    """

    name: str
    title: str
    recognises: Callable[[Row], bool]
    read: Read
    fields: tuple[str, ...] = ()
    ignores: Mapping[str, str] = field(default_factory=dict)
    keeps_notes: bool = False
    also: Callable[[Row], Iterable[str]] | None = None
    needs: Needs | None = None
    start: Callable[[], RowReader] | None = None

    @property
    def required(self) -> Needs | None:
        """The fields that every row must have, where the format can name them."""
        if self.needs is None and isinstance(self.recognises, Needs):
            return self.recognises
        return self.needs

    def paths(self, row: Row) -> tuple[str, ...]:
        """Return the fields of a row that are read."""
        return self.fields if self.also is None else (*self.fields, *self.also(row))


def has(*keys: str | tuple[str, ...]) -> Needs:
    """Return a test for rows that have all these fields; of several in a tuple, any one."""
    return Needs(tuple((key,) if isinstance(key, str) else key for key in keys))

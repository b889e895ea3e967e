"""The definition of a format: its name, how to recognize and read a row, and the fields it uses."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.formats.records import Record, Rejected, Row

Read = Callable[[Row], Iterable[Record | Rejected]]


class RowReader(Protocol):
    """Reads a format whose rows belong together, such as the messages of a conversation tree.

    Memory must stay bounded. Records may be returned after later rows were read; each comes with
    the number of its own row.
    """

    def read(self, number: int, row: Row) -> Iterable[tuple[int, Record | Rejected]]:
        """Read one row and return the records that are complete."""

    def end(self) -> Iterable[tuple[int, Record | Rejected]]:
        """Return the remaining records at the end of the file."""

    @property
    def counted(self) -> str:
        """What the rows read so far are, with their numbers, such as “9 messages in 2 trees”."""


@dataclass(frozen=True, slots=True)
class Needs:
    """A predicate for rows that have at least one field of each group."""

    groups: tuple[tuple[str, ...], ...]

    def __call__(self, row: Row) -> bool:
        """Whether the row has a field of each group."""
        return not self.missing(row)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the first field of each group that is absent from these names."""
        present = set(names)
        return [group[0] for group in self.groups if not present & set(group)]


@dataclass(frozen=True, slots=True)
class Format:
    """A format that is read row by row.

    ``recognizes`` looks only at the fields of a row. ``read`` may return several records, and
    raises Invalid with the reason if the row must be rejected.

    ``fields`` lists the fields that ``read`` uses, as dotted paths: "completions.text" is the text
    of each object in the list. A path includes everything below it. ``ignores`` maps fields that
    are deliberately left out to the reason. ``keeps_notes`` means that other texts and numbers
    are kept with the prompt.

    ``also`` returns fields that depend on the content of the row, such as controls with free names.
    ``needs`` lists the fields that every row must have, so that messages can name a missing one.
    ``start`` replaces ``read`` in formats whose rows belong together.
    """

    name: str
    title: str
    recognizes: Callable[[Row], bool]
    read: Read
    fields: tuple[str, ...] = ()
    ignores: Mapping[str, str] = field(default_factory=dict)
    keeps_notes: bool = False
    also: Callable[[Row], Iterable[str]] | None = None
    needs: Needs | None = None
    start: Callable[[], RowReader] | None = None

    @property
    def required(self) -> Needs | None:
        """The fields that every row must have, or None if the format does not list them."""
        if self.needs is None and isinstance(self.recognizes, Needs):
            return self.recognizes
        return self.needs

    def paths(self, row: Row) -> tuple[str, ...]:
        """Return the fields of this row that are used."""
        return self.fields if self.also is None else (*self.fields, *self.also(row))


def has(*keys: str | tuple[str, ...]) -> Needs:
    """Return a predicate for rows that have all these fields; a tuple lists alternatives."""
    return Needs(tuple((key,) if isinstance(key, str) else key for key in keys))

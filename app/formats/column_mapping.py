"""Maps the columns of a file to fields: columns are renamed before the format is detected."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from app.domain.digits import number_of
from app.errors import Invalid
from app.formats.records import Row

IGNORE = "ignore"
"""The target of columns that are left out."""
VALUE = "value"
"""Stands before a value and what it means, as in ``value=A wins=a``."""
JUDGED = frozenset({"winner", "preferred", "preference", "better", "choice", "label", "kto_tag"})
"""The fields whose values can be mapped."""
USUAL = (
    *("prompt", "response", "chosen", "rejected", "response_a", "response_b", "winner", "label"),
    *("labeler", "category", IGNORE, VALUE),
)
"""The fields that a message names; all others are in the documentation."""

ColumnsByField = Mapping[str, str | list[str]]
"""The column of each field; under "ignore", columns; under "value", pairs such as "A wins=a"."""


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which columns are renamed to which fields, which are left out, and what judgments mean."""

    fields: Mapping[str, str]  # by column
    ignored: frozenset[str]
    values: Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )  # by the value without capitals

    def apply(self, row: Row) -> Row:
        """Return the row with its columns renamed.

        Raises Invalid if a column would take the name of another one.
        """
        if not (self.fields or self.ignored or self.values):
            return row
        kept = {name: value for name, value in row.items() if name not in self.ignored}
        for column, field in self.fields.items():
            if column in row and field in kept and field not in self.fields:
                raise Invalid(_taken(field, column))
        renamed = {self.fields.get(name, name): value for name, value in kept.items()}
        for name in JUDGED & renamed.keys() if self.values else ():
            meaning = self.values.get(plain(renamed[name]))
            if meaning is not None:
                renamed[name] = _typed(name, meaning)
        return renamed


NOTHING = ColumnMapping({}, frozenset())


def parse(texts: Iterable[str]) -> dict[str, str | list[str]]:
    """Read pairs such as ``prompt=question``; ``ignore=…`` and ``value=…=…`` may come again.

    Raises Invalid for a text without a field or a column, and for a field that is named twice.
    """
    columns: dict[str, str | list[str]] = {}
    several: dict[str, list[str]] = {IGNORE: [], VALUE: []}
    for text in texts:
        field, sep, column = (part.strip() for part in text.partition("="))
        if not (field and sep and column):
            raise Invalid(
                f"a mapping is written field=column, such as prompt=question, not {text!r}"
            )
        if field in several:
            several[field].append(column)
        elif field in columns:
            raise Invalid(f"the mapping names the field {field!r} twice")
        else:
            columns[field] = column
    return columns | {name: texts for name, texts in several.items() if texts}


def checked(
    given: ColumnsByField | None, known: Collection[str], columns: Collection[str]
) -> ColumnMapping:
    """Check a mapping against the fields of the formats and the columns of the file.

    Columns are matched regardless of case if that is unambiguous.

    Raises Invalid for an unknown field, a column that the file lacks, or one that is named twice.
    """
    if not given:
        return NOTHING
    fields: dict[str, str] = {}
    ignored = [_column(name, columns) for name in _names(given.get(IGNORE, []))]
    for field, name in given.items():
        if field in (IGNORE, VALUE):
            continue
        if field not in known:
            raise Invalid(_unknown(field, name, known, columns))
        if not isinstance(name, str):
            raise Invalid(f"the mapping gives the field {field!r} more than one column")
        column = _column(name, columns)
        if column in fields or column in ignored:
            raise Invalid(f"the mapping names the column {column!r} twice")
        fields[column] = field
    _check_taken(fields, ignored, columns)
    values = _values(_names(given.get(VALUE, [])))
    return ColumnMapping(fields, frozenset(ignored), values)


def plain(value: object) -> str:
    """Return a value as it is compared: without capitals and the spaces around it."""
    return str(value).strip().casefold()


def _values(texts: Iterable[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in texts:
        value, sep, meaning = (part.strip() for part in text.rpartition("="))
        if not (value and sep and meaning):
            raise Invalid(f"a value is mapped as value=A wins=a, not {VALUE}={text}")
        if values.setdefault(plain(value), meaning) != meaning:
            raise Invalid(f"the mapping gives the value {value!r} two meanings")
    return values


def _typed(name: str, meaning: str) -> str | bool | int:
    """Return a meaning as the field holds it: a label is true or false, a choice a number."""
    if meaning.casefold() in ("true", "false"):
        return meaning.casefold() == "true"
    number = None if name == "winner" else number_of(meaning)
    return meaning if number is None else number


def _check_taken(
    fields: Mapping[str, str], ignored: Collection[str], columns: Collection[str]
) -> None:
    for column, field in fields.items():
        if field in columns and field not in fields and field not in ignored:
            raise Invalid(_taken(field, column))


def _unknown(
    field: str, name: str | list[str], known: Collection[str], columns: Collection[str]
) -> str:
    """Say what may have been meant by a field that does not exist."""
    if field in columns and name in known:
        return f"a mapping is written field=column: {name}={field}, not {field}={name}"
    alike = get_close_matches(field.lower(), sorted({*known, IGNORE}), n=3)
    meant = f"did you mean {' or '.join(alike)}? " if alike else ""
    return (
        f"there is no field {field!r} to map to; {meant}The usual fields are {', '.join(USUAL)}; "
        "docs/formats.md lists those of each format"
    )


def _taken(field: str, column: str) -> str:
    return (
        f"the mapping gives the column {column!r} the name {field!r}, which another column has; "
        f"map or ignore that one too"
    )


def _names(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _column(name: str, columns: Collection[str]) -> str:
    if name in columns:
        return name
    alike = [column for column in columns if column.lower() == name.strip().lower()]
    if len(alike) != 1:
        raise Invalid(f"the file has no column {name!r}; its columns are {', '.join(columns)}")
    return alike[0]

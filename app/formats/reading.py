"""Files as rows, and rows as records: what every way of reading a file goes through.

A file is a stream of rows. Its first rows tell whether it is a table, which columns it has and
which format; then each row is renamed as the mapping says, read by the format, and rejected where a
judgment in it would be lost.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice

from app.errors import Invalid
from app.formats import column_mapping, csv_prompts, detection, tables, unused_signals
from app.formats.column_mapping import ColumnMapping, Given
from app.formats.format import Format
from app.formats.items import SEVERAL_FILES
from app.formats.known_formats import ARCHIVE, FIELDS, FORMATS, TABLE_FORMATS, named
from app.formats.lines import DEFAULT, Limits, Line, row
from app.formats.records import Record, Rejected, Row

HEAD = 20
"""How many rows are looked at to tell the format."""

Numbered = tuple[int, Record | Rejected]


@dataclass(frozen=True, slots=True)
class Rows:
    """A file whose format is known: its rows still in bytes, and how to read them."""

    stream: Iterator[Line | Rejected]
    format: Format
    mapping: ColumnMapping
    limits: Limits

    def with_stream(self, stream: Iterator[Line | Rejected]) -> "Rows":
        """Return the same way of reading over other rows."""
        return replace(self, stream=stream)

    def row(self, line: Line) -> Row:
        """Parse a row and rename its columns. Raises Invalid with the reason why not."""
        return self.mapping.apply(row(line.data, self.limits))

    def read(self, values: Row) -> list[Record | Rejected]:
        """Read a row. Raises Invalid where it is not to be taken."""
        outcomes = list(self.format.read(values))
        unused_signals.check(values, self.format)
        return outcomes


def readable(stream: Iterator[Line | Rejected]) -> Iterator[Line | Rejected]:
    """Return the rows of a file. Raises Invalid where none of the first can be read."""
    head = list(islice(stream, HEAD))
    if all(isinstance(item, Line) and not item.data.strip() for item in head):
        raise Invalid("the file is empty")
    if all(isinstance(item, Rejected) for item in head):
        reason = next(item.reason for item in head if isinstance(item, Rejected))
        raise Invalid(f"no line could be read: {reason}")
    return chain(head, stream)


def opened(
    stream: Iterator[Line | Rejected],
    name: str | None,
    limits: Limits = DEFAULT,
    mapping: Given | None = None,
) -> Rows:
    """Look at the first rows of a file and settle how to read it.

    Raises Invalid where its format is not known, nothing is called ``name``, or the mapping does
    not fit.
    """
    head = list(islice(stream, HEAD))
    first = [item.data for item in head if isinstance(item, Line)]
    if name is not None and not any(data.strip() for data in first):
        return Rows(chain(head, stream), named(name), column_mapping.NOTHING, limits)
    is_table = name == csv_prompts.NAME or tables.is_table(first, _columns_known(mapping))
    columns: Sequence[str] = ()
    whole = chain(head, stream)
    if is_table:
        table = tables.read(whole, limits, FIELDS)
        head = list(islice(table.rows, HEAD))
        columns, whole = table.columns, chain(head, table.rows)
    parsed = _parsed(head, limits)
    if is_table:
        # A cell that is empty is missing from its row, but its column is there.
        parsed = [{**dict.fromkeys(columns), **values} for values in parsed or [{}]]
    columns = columns or list(dict.fromkeys(name for values in parsed for name in values))
    renaming = column_mapping.checked(mapping, FIELDS, columns)
    renamed = [*_renamed(parsed, renaming)]
    return Rows(whole, _format(name, renamed, is_table), renaming, limits)


def records(rows: Rows) -> Iterator[Numbered]:
    """Read every row of a file, each record with the number of its line."""
    if rows.format.start is not None:
        yield from _together(rows)
        return
    for item in rows.stream:
        if isinstance(item, Rejected):
            yield item.line, item
        elif item.data.strip():
            for outcome in _outcomes(rows, item):
                yield item.number, outcome


def detected(first_lines: Sequence[bytes], limits: Limits, mapping: Given | None) -> str:
    """Name the format of the first rows, or "zip" where they are in several files."""
    if SEVERAL_FILES in first_lines:
        return ARCHIVE
    lines = (Line(number, data) for number, data in enumerate(first_lines, 1))
    return opened(lines, None, limits, mapping).format.name


def _outcomes(rows: Rows, item: Line) -> list[Record | Rejected]:
    try:
        outcomes = rows.read(rows.row(item))
    except Invalid as error:
        return [Rejected(item.number, str(error), item.data)]
    return [
        replace(outcome, line=item.number, raw=item.data)
        if isinstance(outcome, Rejected)
        else outcome
        for outcome in outcomes
    ]


def _together(rows: Rows) -> Iterator[Numbered]:
    """Read a format whose rows belong together."""
    assert rows.format.start is not None
    reader = rows.format.start()
    for item in rows.stream:
        if isinstance(item, Rejected):
            yield item.line, item
        elif item.data.strip():
            try:
                values = rows.row(item)
                unused_signals.check(values, rows.format)
                outcomes = list(reader.read(item.number, values))
            except Invalid as error:
                outcomes = [(item.number, Rejected(item.number, str(error), item.data))]
            yield from outcomes
    yield from reader.end()


def _format(name: str | None, rows: Sequence[Row], is_table: bool) -> Format:
    if name is None:
        formats = TABLE_FORMATS if is_table else FORMATS
        return detection.best(formats, rows, is_table=is_table)
    known = named(name)
    if is_table:
        detection.check_header(known, list(rows[0]))
    return known


def _columns_known(mapping: Given | None) -> set[str]:
    """Return the names that tell a header: fields, and the columns that the mapping names."""
    known = set(FIELDS)
    for names in (mapping or {}).values():
        known.update([names] if isinstance(names, str) else names)
    return known


def _parsed(head: Iterable[Line | Rejected], limits: Limits) -> list[Mapping[str, object]]:
    rows: list[Mapping[str, object]] = []
    for item in head:
        if isinstance(item, Line) and item.data.strip():
            with suppress(Invalid):
                rows.append(row(item.data, limits))
    return rows


def _renamed(rows: Iterable[Row], mapping: ColumnMapping) -> Iterator[Row]:
    for values in rows:
        with suppress(Invalid):
            yield mapping.apply(values)

"""The pipeline that every import goes through, from raw rows to records.

The first rows of a file show whether it is a table, which columns it has, and its format. Then the
columns of each row are renamed according to the mapping, the format reads the row, and the row is
rejected if a judgment in it would be lost.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice

from app.errors import Invalid
from app.formats import (
    column_mapping,
    csv_prompts,
    detection,
    fields,
    plain_lines,
    tables,
    unused_signals,
)
from app.formats.column_mapping import ColumnMapping, ColumnsByField
from app.formats.format import Format, RowReader
from app.formats.known_formats import ARCHIVE, FIELDS, FORMATS, TABLE_FORMATS, named
from app.formats.lines import DEFAULT, Limits, RawRow, row
from app.formats.raw_rows import SEVERAL_FILES
from app.formats.records import Record, Rejected, Row

HEAD = 20
"""The number of rows from which the format is detected."""

Numbered = tuple[int, Record | Rejected]


@dataclass(frozen=True, slots=True)
class Rows:
    """A file of a known format: its raw rows, and how to read them."""

    stream: Iterator[RawRow | Rejected]
    format: Format
    mapping: ColumnMapping
    limits: Limits

    def with_stream(self, stream: Iterator[RawRow | Rejected]) -> "Rows":
        """Return the same settings with other raw rows."""
        return replace(self, stream=stream)

    def row(self, line: RawRow) -> Row:
        """Parse a row and rename its columns. Raises Invalid with the reason."""
        return self.mapping.apply(row(line.data, self.limits))

    def read(self, values: Row) -> list[Record | Rejected]:
        """Read a row. Raises Invalid if it must be rejected."""
        outcomes = list(self.format.read(values))
        unused_signals.check(values, self.format)
        return _labelled(outcomes, values)


def readable(stream: Iterator[RawRow | Rejected]) -> Iterator[RawRow | Rejected]:
    """Return the rows of a file. Raises Invalid if none of the first rows can be read."""
    head = list(islice(stream, HEAD))
    if all(isinstance(item, RawRow) and not item.data.strip() for item in head):
        raise Invalid("the file is empty")
    if all(isinstance(item, Rejected) for item in head):
        reason = next(item.reason for item in head if isinstance(item, Rejected))
        raise Invalid(f"no line could be read: {reason}")
    return chain(head, stream)


def opened(
    stream: Iterator[RawRow | Rejected],
    name: str | None,
    limits: Limits = DEFAULT,
    mapping: ColumnsByField | None = None,
) -> Rows:
    """Decide from the first rows of a file how to read it.

    Raises Invalid if its format is unknown, no format is called ``name``, or the mapping does not
    fit.
    """
    head = list(islice(stream, HEAD))
    first = [item.data for item in head if isinstance(item, RawRow)]
    if name is not None and not any(data.strip() for data in first):
        return Rows(chain(head, stream), named(name), column_mapping.NOTHING, limits)
    known = _columns_known(mapping)
    whole = chain(head, stream)
    is_plain = name is None and not mapping and plain_lines.recognizes(first, known)
    if is_plain or name == plain_lines.NAME:
        column_mapping.checked(mapping, FIELDS, plain_lines.FORMAT.fields)
        lines = plain_lines.rows(whole, limits)
        return Rows(lines, plain_lines.FORMAT, column_mapping.NOTHING, limits)
    is_table = name == csv_prompts.NAME or tables.is_table(first, known)
    columns: Sequence[str] = ()
    if is_table:
        table = tables.read(whole, limits, FIELDS)
        head = list(islice(table.rows, HEAD))
        columns, whole = table.columns, chain(head, table.rows)
    parsed = _parsed(head, limits)
    if is_table:
        # An empty cell is missing from its row, but its column exists.
        parsed = [{**dict.fromkeys(columns), **values} for values in parsed or [{}]]
    columns = columns or list(dict.fromkeys(name for values in parsed for name in values))
    renaming = column_mapping.checked(mapping, FIELDS, columns)
    renamed = [*_renamed(parsed, renaming)]
    chosen = _format(name, renamed, is_table)
    _check_mapped(renaming, chosen, renamed[0] if renamed else {})
    return Rows(whole, chosen, renaming, limits)


def records(rows: Rows, notes: list[str] | None = None) -> Iterator[Numbered]:
    """Read every row of a file; each record comes with the number of its line.

    How rows that belong together were counted is added to ``notes`` at the end.
    """
    if rows.format.start is not None:
        yield from _together(rows, [] if notes is None else notes)
        return
    for item in rows.stream:
        if isinstance(item, Rejected):
            yield item.line, item
        elif item.data.strip():
            for outcome in _outcomes(rows, item):
                yield item.number, outcome


def detected(first_lines: Sequence[bytes], limits: Limits, mapping: ColumnsByField | None) -> str:
    """Return the name of the format, or "zip" for an archive of several files."""
    if SEVERAL_FILES in first_lines:
        return ARCHIVE
    lines = (RawRow(number, data) for number, data in enumerate(first_lines, 1))
    return opened(lines, None, limits, mapping).format.name


def _labelled(outcomes: list[Record | Rejected], values: Row) -> list[Record | Rejected]:
    """Add the prompt's category and tags to the notes of records whose format does not."""
    if not values.keys() & fields.LABELS.keys():
        return outcomes
    labels = fields.labels(values)
    return [
        outcome
        if isinstance(outcome, Rejected) or labels.keys() <= outcome.meta.keys()
        else replace(outcome, meta={**labels, **outcome.meta})
        for outcome in outcomes
    ]


def _outcomes(rows: Rows, item: RawRow) -> list[Record | Rejected]:
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


def _together(rows: Rows, notes: list[str]) -> Iterator[Numbered]:
    """Read a format whose rows belong together."""
    assert rows.format.start is not None
    reader = rows.format.start()
    lines = read = rejected = 0
    for number, outcome in _outcomes_together(rows, reader):
        lines += outcome is None
        rejected += isinstance(outcome, Rejected)
        read += outcome is not None and not isinstance(outcome, Rejected)
        if outcome is not None:
            yield number, outcome
    counted = f"{reader.counted}, " if lines else ""
    notes.append(
        f"{lines:,} {'row' if lines == 1 else 'rows'}: {counted}read as {read:,} "
        f"{'record' if read == 1 else 'records'}; {rejected:,} rejected."
    )


def _outcomes_together(
    rows: Rows, reader: RowReader
) -> Iterator[tuple[int, Record | Rejected | None]]:
    """Yield None for each row, and the outcomes as they come."""
    for item in rows.stream:
        if isinstance(item, RawRow) and not item.data.strip():
            continue
        number = item.line if isinstance(item, Rejected) else item.number
        yield number, None
        if isinstance(item, Rejected):
            yield number, item
            continue
        try:
            values = rows.row(item)
            unused_signals.check(values, rows.format)
            outcomes = list(reader.read(number, values))
        except Invalid as error:
            outcomes = [(number, Rejected(number, str(error), item.data))]
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


def _check_mapped(mapping: ColumnMapping, chosen: Format, first: Row) -> None:
    """Raise Invalid if a judgment that the mapping names is none of the format's fields.

    A mapping of two responses without the winner must not yield bare prompts.
    """
    used = {path.partition(".")[0] for path in (*chosen.paths(first), *chosen.ignores)}
    unused = [
        field
        for field in mapping.fields.values()
        if field not in used and unused_signals.kind_of(field)
    ]
    if unused:
        missing = [
            (len(absent), known.name, absent)
            for known in FORMATS
            if (needs := known.required)
            and any(field in group for group in needs.groups for field in unused)
            and (absent := needs.missing(mapping.fields.values()))
        ]
        _, other, absent = min(missing, default=(0, "", []))
        also = f"; the format {other!r} needs {_listed(absent)} as well" if absent else ""
        raise Invalid(
            f"the mapping names {_listed(unused)}, which the format {chosen.name!r} does not use"
            f"{also}: map {'it' if len(absent) == 1 else 'what is missing'}, name another format, "
            "or put the columns under ignore"
        )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names))


def _columns_known(mapping: ColumnsByField | None) -> set[str]:
    """Return the names that identify a header: fields, and the columns in the mapping."""
    known = set(FIELDS)
    for field, names in (mapping or {}).items():
        if field != column_mapping.VALUE:
            known.update([names] if isinstance(names, str) else names)
    return known


def _parsed(head: Iterable[RawRow | Rejected], limits: Limits) -> list[Mapping[str, object]]:
    rows: list[Mapping[str, object]] = []
    for item in head:
        if isinstance(item, RawRow) and item.data.strip():
            with suppress(Invalid):
                rows.append(row(item.data, limits))
    return rows


def _renamed(rows: Iterable[Row], mapping: ColumnMapping) -> Iterator[Row]:
    for values in rows:
        with suppress(Invalid):
            yield mapping.apply(values)

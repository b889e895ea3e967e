"""Reads tables in text, as written by spreadsheets: CSV with commas or semicolons, and TSV.

The rows of a table are converted to JSON, so that every format can be read from a table. The first
line is the header. Cells are text, and empty cells are missing fields. Only in columns that hold a
label, a score or a choice by their name are numbers and true or false converted. A decimal comma
remains text.

Spreadsheets run a cell that starts with = + - @, a tab or a carriage return as a formula. Such
cells are written with a leading apostrophe, and one apostrophe before such a character is removed
on reading. So is that of a cell of apostrophes only: a single one is an empty text.
"""

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.domain.repeats import repeated
from app.errors import Invalid
from app.formats import jsonl, unused_signals
from app.formats.charsets import REMEDY
from app.formats.lines import Limits, RawRow, check_text
from app.formats.records import Rejected

_DELIMITERS = ",;\t"
_FORMULA = re.compile(r"'*[=+\-@\t\r]|'+\Z")
_GUARDED = re.compile(r"'+(?:[=+\-@\t\r]|\Z)")
EMPTY = "'"
"""The cell of an empty text; an empty cell is a missing field."""
_INTEGER = re.compile(r"-?\d{1,15}")
_DECIMAL = re.compile(r"-?\d{1,15}(?:\.\d{1,17}(?:e[+-]?\d{1,3})?|e[+-]?\d{1,3})")
# These columns hold the text of a completion, or a name.
_TEXTS = {"chosen", "rejected", "preferred", "preferred_output", "non_preferred_output", "winner"}
_SEPARATOR_LINE = re.compile(rb"sep=(.)\r?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose header was read: its columns, and the rows that follow."""

    columns: tuple[str, ...]
    rows: Iterator[RawRow | Rejected]


def is_table(first_lines: Sequence[bytes], known: Collection[str]) -> bool:
    """Whether the first line is a header and not JSON.

    A line without a known column is also a header, unless lines of JSON follow it.
    """
    lines = [line.lstrip() for line in first_lines if line.strip()]
    if not lines or lines[0].startswith((b"{", b"[")):
        return False
    try:
        first = lines[0].decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    if any(character < " " and character not in "\t\r" for character in first):
        return False
    return names_column(first, known) or not any(line.startswith(b"{") for line in lines)


def names_column(line: str, known: Collection[str]) -> bool:
    """Whether a line, read as a header, names a known column."""
    header = split_cells(line, _delimiter(line, known))
    return bool(set(header) & {name.lower() for name in known})


def read(stream: Iterable[RawRow | Rejected], limits: Limits, known: Collection[str]) -> Table:
    """Read the header of a table.

    Columns are matched regardless of case; those that no format uses become lowercase.

    Raises Invalid if the header names a column twice.
    """
    source = _Lines(stream, limits)
    first = next((line for line in source if line.strip()), "")
    if separator := _SEPARATOR_LINE.fullmatch(first.strip("\n").encode()):
        delimiter = separator[1].decode("latin-1")
        first = next(source, "")
    else:
        delimiter = _delimiter(first, known)
    source.held = first
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    try:
        names = _named(next(reader, []), known)
    except csv.Error as error:
        raise Invalid(f"the header is not CSV: {error}") from error
    return Table(names, _rows(source, delimiter, names, limits))


def split_cells(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line in small letters; none if it is not CSV."""
    try:
        return [name.strip().lower() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def written(cells: Sequence[str]) -> bytes:
    """Encode one row as CSV."""
    out = io.StringIO()
    csv.writer(out).writerow([guarded(cell) for cell in cells])
    return out.getvalue().encode()


def guarded(cell: str) -> str:
    """Return the cell in a form that no spreadsheet runs as a formula."""
    return "'" + cell if _FORMULA.match(cell) else cell


class _Lines:
    """Lines as text for the CSV reader, which asks for another line while a quote is open."""

    def __init__(self, stream: Iterable[RawRow | Rejected], limits: Limits) -> None:
        self.stream = iter(stream)
        self.limits = limits
        self.number = 0
        self.held = ""
        self._of_row = 0  # bytes

    def begin_row(self) -> None:
        """Count the lines from here on as those of another row."""
        self._of_row = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self.held:
            line, self.held = self.held, ""
            return line
        item = next(self.stream)
        if isinstance(item, Rejected):
            self.number = item.line
            raise Invalid(item.reason)
        self.number = item.number
        self._of_row += len(item.data)
        if self._of_row > self.limits.line_bytes:
            raise Invalid(f"the row is longer than {self.limits.line_bytes} bytes")
        try:
            return item.data.decode("utf-8-sig" if item.number == 1 else "utf-8") + "\n"
        except UnicodeDecodeError as error:
            raise Invalid(f"byte {error.start + 1} is not UTF-8: {REMEDY}") from error


def _rows(
    source: _Lines, delimiter: str, names: Sequence[str], limits: Limits
) -> Iterator[RawRow | Rejected]:
    """Yield the rows below a header; a row has the number of its first line."""
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        started = source.number + 1
        source.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            break
        except (csv.Error, Invalid) as error:
            reason = f"not CSV: {error}" if isinstance(error, csv.Error) else str(error)
            yield Rejected(started, reason)
            # A new reader starts after a bad row; the lines that the row consumed are gone.
            reader = csv.reader(source, delimiter=delimiter, strict=True)
            continue
        if cells:
            yield _row(started, names, cells, limits)


def _row(
    line: int, names: Sequence[str], cells: Sequence[str], limits: Limits
) -> RawRow | Rejected:
    try:
        if len(cells) != len(names):
            raise Invalid(f"the row has {len(cells)} cells, but the header has {len(names)}")
        values = {n: _value(n, _bare(cell)) for n, cell in zip(names, cells, strict=True) if cell}
        for value in values.values():
            if isinstance(value, str):
                check_text(value, limits)
        return RawRow(line, jsonl.encode(values).rstrip(b"\n"))
    except Invalid as error:
        return Rejected(line, str(error), written(cells))


def _value(name: str, cell: str) -> str | int | float | bool:
    """Return a cell as text, or as a number or truth value in a column with a judgment."""
    if name in _TEXTS or not unused_signals.is_value(name):
        return cell
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    if _INTEGER.fullmatch(cell):
        return int(cell)
    return float(cell) if _DECIMAL.fullmatch(cell) else cell


def _bare(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell


def _delimiter(first: str, known: Collection[str]) -> str:
    """Return the delimiter that yields the most known columns, then the most columns."""
    names = {name.lower() for name in known}

    def columns(delimiter: str) -> tuple[int, int]:
        header = split_cells(first, delimiter)
        return len(names & set(header)), len(header)

    return max(_DELIMITERS, key=columns)


def _named(cells: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    spelled = {name.lower(): name for name in known}
    names = []
    for n, cell in enumerate(cells, 1):
        name = cell.strip().lower()
        # The index column of a table written by pandas has no name.
        names.append(spelled.get(name, name) or f"column {n}")
    if (twice := repeated(names)) is not None:
        raise Invalid(f"the header names the column {twice!r} twice")
    return tuple(names)

"""Writes an export as CSV that a spreadsheet can open and that reads back as the same rows.

Files are UTF-8 with a byte-order mark, because spreadsheets take other files for the encoding of
the computer; libraries skip the mark. Cells that a spreadsheet would run as a formula start with
an apostrophe (see `tables`), and an apostrophe alone is an empty text, because an empty cell is a
missing field. Numbers are plain.
"""

import csv
import io
from collections.abc import Iterable, Iterator

from app.formats import tables
from app.formats.export_columns import Columns
from app.formats.records import Row

MARK = "\ufeff".encode()


def write(rows: Iterable[Row], columns: Columns) -> Iterator[bytes]:
    """Yield the header and the rows; every column must hold single values."""
    yield MARK + _line(list(columns))
    for row in rows:
        yield _line([_cell(row.get(name)) for name in columns])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return tables.guarded(str(value)) or tables.EMPTY


def _line(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()

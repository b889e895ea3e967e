"""Prompts and demonstrations as CSV with a header, as written by spreadsheets.

Spreadsheets run a cell that starts with = + - or @ as a formula. Such cells are written with a
leading apostrophe, and one apostrophe before such a character is removed on reading.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from app.errors import Invalid
from app.formats import fields
from app.formats.lines import Limits, RawRow, check_text
from app.formats.records import (
    Conversation,
    DemonstrationRecord,
    PromptRecord,
    Rejected,
    Row,
    Turn,
)

NAME = "csv"
TITLE = "prompts or demonstrations as CSV"
_PROMPTS = ("prompt", "instruction", "input_text", "question", "text")
_RESPONSES = ("response", "completion", "output", "answer")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def recognizes(first: bytes) -> bool:
    """Whether the line is a header that names a prompt column."""
    try:
        names = next(csv.reader([first.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error):
        return False
    return not first.lstrip().startswith((b"{", b"[")) and bool(set(_PROMPTS) & set(_clean(names)))


def read(
    stream: Iterable[RawRow | Rejected], limits: Limits
) -> Iterator[tuple[int, PromptRecord | DemonstrationRecord | Rejected]]:
    """Read the rows below a header; a row may span lines and has the number of its first line.

    Raises Invalid if the header names no prompt column.
    """
    source = _Lines(stream)
    reader = csv.reader(source, strict=True)
    header = _clean(next(reader, []))
    if not set(_PROMPTS) & set(header):
        raise Invalid(f"the header needs one of the columns {', '.join(_PROMPTS)}")
    while True:
        started = source.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except (csv.Error, Invalid) as error:
            reason = f"not CSV: {error}" if isinstance(error, csv.Error) else str(error)
            yield started, Rejected(started, reason)
            # A new reader starts after a bad row; the lines that the row consumed are gone.
            reader = csv.reader(source, strict=True)
            continue
        if cells:
            yield started, _record(started, header, cells, limits)


def write(records: Iterable[PromptRecord | DemonstrationRecord]) -> Iterator[bytes]:
    """Write single-turn prompts, with or without responses, below a header.

    Raises Invalid for a conversation.
    """
    yield _row(["id", "prompt", "response"])
    for record in records:
        response = record.response if isinstance(record, DemonstrationRecord) else ""
        yield _row([record.source_id or "", fields.as_text(record.messages), response])


def guarded(cell: str) -> str:
    """Return the cell in a form that no spreadsheet runs as a formula."""
    return "'" + cell if _FORMULA.match(cell) else cell


class _Lines:
    """Lines as text for the CSV reader, which asks for another line while a quote is open."""

    def __init__(self, stream: Iterable[RawRow | Rejected]) -> None:
        self.stream = iter(stream)
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        item = next(self.stream)
        if isinstance(item, Rejected):
            self.number = item.line
            raise Invalid(item.reason)
        self.number = item.number
        try:
            return item.data.decode("utf-8-sig" if item.number == 1 else "utf-8") + "\n"
        except UnicodeDecodeError as error:
            raise Invalid(f"byte {error.start + 1} is not UTF-8") from error


def _record(
    line: int, header: Sequence[str], cells: Sequence[str], limits: Limits
) -> PromptRecord | DemonstrationRecord | Rejected:
    try:
        if len(cells) != len(header):
            raise Invalid(f"the row has {len(cells)} cells, but the header has {len(header)}")
        row = {name: _bare(cell) for name, cell in zip(header, cells, strict=True) if cell}
        for cell in row.values():
            check_text(cell, limits)
        return _read(row)
    except Invalid as error:
        return Rejected(line, str(error), _row(cells))


def _read(row: Row) -> PromptRecord | DemonstrationRecord:
    prompt_column = next((key for key in _PROMPTS if key in row), None)
    if prompt_column is None:
        raise Invalid("the prompt is empty")
    response_column = next((key for key in _RESPONSES if key in row), None)
    turns: Conversation = (Turn("user", fields.text(row, prompt_column)),)
    if "system" in row:
        turns = (Turn("system", fields.text(row, "system")), *turns)
    meta = fields.rest(row, {prompt_column, response_column or "", "system", "id"})
    name = fields.identifier(row, "id")
    if response_column is None:
        return PromptRecord(turns, name, meta)
    return DemonstrationRecord(turns, fields.text(row, response_column), name, meta)


def _row(cells: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow([guarded(cell) for cell in cells])
    return out.getvalue().encode()


def _bare(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell


def _clean(names: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in names]

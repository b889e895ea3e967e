"""Prompts and demonstrations as CSV with a header, as spreadsheets write it.

A spreadsheet runs a cell that starts with = + - or @ as a formula. Such cells are written with an
apostrophe before them, and one apostrophe before such a sign is taken off again on reading.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from app.errors import Invalid
from app.formats import fields
from app.formats.lines import Limits, RawRow, check_text
from app.formats.records import (
    DemonstrationRecord,
    PromptRecord,
    Rejected,
    Row,
    Turn,
)

NAME = "csv"
TITLE = "prompts or demonstrations as CSV"
_PROMPTS = ("prompt", "instruction", "input_text", "question", "text")
_ANSWERS = ("response", "completion", "output", "answer")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def recognises(first: bytes) -> bool:
    """Tell a header line that names a column of prompts."""
    try:
        names = next(csv.reader([first.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error):
        return False
    return not first.lstrip().startswith((b"{", b"[")) and bool(set(_PROMPTS) & set(_clean(names)))


def read(
    stream: Iterable[RawRow | Rejected], limits: Limits
) -> Iterator[tuple[int, PromptRecord | DemonstrationRecord | Rejected]]:
    """Read rows under a header; a row may span lines and is numbered by its first.

    Raises Invalid where the header names no column of prompts.
    """
    source = _Lines(stream)
    reader = csv.reader(source, strict=True)
    header = _clean(next(reader, []))
    if not set(_PROMPTS) & set(header):
        raise Invalid(f"the header names none of the columns {', '.join(_PROMPTS)}")
    while True:
        started = source.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except (csv.Error, Invalid) as error:
            reason = f"not CSV: {error}" if isinstance(error, csv.Error) else str(error)
            yield started, Rejected(started, reason)
            # The reader starts again after a bad row; the lines it took are gone.
            reader = csv.reader(source, strict=True)
            continue
        if cells:
            yield started, _record(started, header, cells, limits)


def write(records: Iterable[PromptRecord | DemonstrationRecord]) -> Iterator[bytes]:
    """Write single-turn prompts, with or without answers, header first.

    Raises Invalid for a conversation.
    """
    yield _row(["id", "prompt", "response"])
    for record in records:
        answer = record.response if isinstance(record, DemonstrationRecord) else ""
        yield _row([record.source_id or "", fields.as_text(record.messages), answer])


def guarded(cell: str) -> str:
    """Return a cell that no spreadsheet runs."""
    return "'" + cell if _FORMULA.match(cell) else cell


class _Lines:
    """Lines as text for the CSV reader, which asks for more while a quote is open."""

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
            raise Invalid(f"the row has {len(cells)} cells, the header {len(header)}")
        row = {name: _bare(cell) for name, cell in zip(header, cells, strict=True) if cell}
        for cell in row.values():
            check_text(cell, limits)
        return _read(row)
    except Invalid as error:
        return Rejected(line, str(error), _row(cells))


def _read(row: Row) -> PromptRecord | DemonstrationRecord:
    asked = next((key for key in _PROMPTS if key in row), None)
    if asked is None:
        raise Invalid("the prompt is empty")
    answered = next((key for key in _ANSWERS if key in row), None)
    turns: tuple[Turn, ...] = (Turn("user", fields.text(row, asked)),)
    if "system" in row:
        turns = (Turn("system", fields.text(row, "system")), *turns)
    meta = fields.rest(row, {asked, answered, "system", "id"} - {None})  # type: ignore[arg-type]
    name = fields.identifier(row, "id")
    if answered is None:
        return PromptRecord(turns, name, meta)
    return DemonstrationRecord(turns, fields.text(row, answered), name, meta)


def _row(cells: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow([guarded(cell) for cell in cells])
    return out.getvalue().encode()


def _bare(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell


def _clean(names: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in names]

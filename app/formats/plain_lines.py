"""Plain text with one prompt per line.

Such a file has no header and no quoting. It is recognized only where nothing could be lost: the
first line has several words and no known column, and the lines do not form a table of several
columns.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from app.errors import Invalid
from app.formats import csv_prompts, jsonl, tables, unused_signals
from app.formats.charsets import REMEDY
from app.formats.format import has
from app.formats.lines import Limits, RawRow, check_text
from app.formats.records import Rejected

NAME = "lines"
FORMAT = replace(
    csv_prompts.FORMAT,
    name=NAME,
    title="plain text, one prompt per line",
    recognizes=has("prompt"),
    fields=("prompt",),
    keeps_notes=False,
)


def recognizes(first_lines: Sequence[bytes], known: Collection[str]) -> bool:
    """Whether the first lines of a file are prompts, and no table with a known column."""
    if not tables.is_table(first_lines, known):
        return False
    try:
        lines = [line.decode("utf-8-sig").strip() for line in first_lines if line.strip()]
    except UnicodeDecodeError:
        return False
    if len(lines) < 2 or len(lines[0].split()) < 2 or '"' in lines[0]:
        return False
    if any("\t" in line for line in lines) or tables.names_column(lines[0], known):
        return False
    return not any(_is_column_of_table(delimiter, lines) for delimiter in ",;")


def rows(stream: Iterable[RawRow | Rejected], limits: Limits) -> Iterator[RawRow | Rejected]:
    """Yield each line as a row with a prompt; blank lines are left out."""
    for item in stream:
        if isinstance(item, Rejected):
            yield item
        elif item.data.strip():
            yield _row(item, limits)


def _row(item: RawRow, limits: Limits) -> RawRow | Rejected:
    try:
        text = item.data.decode("utf-8-sig" if item.number == 1 else "utf-8").strip()
        check_text(text, limits)
        if text.startswith("{") and _is_json(text):
            raise Invalid("the line is JSON: let the format be detected, or name another")
    except UnicodeDecodeError as error:
        return Rejected(item.number, f"byte {error.start + 1} is not UTF-8: {REMEDY}", item.data)
    except Invalid as error:
        return Rejected(item.number, str(error), item.data)
    return RawRow(item.number, jsonl.encode({"prompt": text}).rstrip(b"\n"))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_column_of_table(delimiter: str, lines: Sequence[str]) -> bool:
    """Whether the first line may be a header with this delimiter.

    It may if a name in it is that of a judgment, or every line has as many cells.
    """
    header = tables.split_cells(lines[0], delimiter)
    if any(unused_signals.kind_of(name) for name in header):
        return True
    return len(header) > 1 and all(
        len(tables.split_cells(line, delimiter)) == len(header) for line in lines
    )

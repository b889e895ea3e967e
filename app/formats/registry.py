"""All import formats: detection by the first rows or selection by name, and streaming reads.

A row that cannot be read becomes a Rejected with its line number and reason, and reading continues.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice

from app.errors import Invalid
from app.formats import (
    arena,
    argilla,
    completions,
    csv_prompts,
    hh,
    instructions,
    label_studio,
    llama_factory,
    mt_bench,
    open_assistant,
    openai_preference,
    prompts,
    rich,
    shp,
    summarize_feedback,
    trl,
    ultrafeedback,
    vertex,
)
from app.formats.format import Format
from app.formats.lines import DEFAULT, Limits, RawRow, row
from app.formats.raw_rows import raw_rows
from app.formats.records import Record, Rejected

# More specific formats come first: an HH row is also a TRL row.
FORMATS: tuple[Format, ...] = (
    rich.FORMAT,
    hh.FORMAT,
    openai_preference.FORMAT,
    vertex.PREFERENCES,
    vertex.RESULTS,
    llama_factory.ALPACA,
    llama_factory.SHAREGPT,
    shp.FORMAT,
    ultrafeedback.FORMAT,
    summarize_feedback.FORMAT,
    arena.FORMAT,
    label_studio.FORMAT,
    argilla.FORMAT,
    open_assistant.FORMAT,
    trl.PREFERENCES,
    trl.UNPAIRED,
    completions.FORMAT,
    mt_bench.FORMAT,
    instructions.DOLLY,
    instructions.ALPACA,
    vertex.PROMPTS,
    prompts.FORMAT,
)
# The number of rows from which the format is detected.
_HEAD = 20


def names() -> dict[str, str]:
    """Return the name of every format with a description of its contents."""
    titles = {candidate.name: candidate.title for candidate in FORMATS}
    return {**titles, csv_prompts.NAME: csv_prompts.TITLE}


def detect(first_lines: Sequence[bytes], limits: Limits = DEFAULT) -> str:
    """Return the name of the format that recognizes most of the first rows.

    Raises Invalid if no format recognizes any; the message lists the fields of the rows.
    """
    if not any(line.strip() for line in first_lines):
        raise Invalid("the file is empty")
    if csv_prompts.recognizes(next(line for line in first_lines if line.strip())):
        return csv_prompts.NAME
    rows = []
    for line in first_lines:
        with suppress(Invalid):
            rows.append(row(line, limits))
    best = max(FORMATS, key=lambda candidate: sum(map(candidate.recognizes, rows)))
    if not any(map(best.recognizes, rows)):
        keys = ", ".join(sorted({key for fields in rows for key in fields})) or "none that are JSON"
        raise Invalid(f"no known format has these fields: {keys}; name one of {', '.join(names())}")
    return best.name


def read(
    chunks: Iterable[bytes], name: str | None = None, limits: Limits = DEFAULT
) -> Iterator[Record | Rejected]:
    """Read a file of any size like `numbered`, without the line numbers."""
    return (item for _, item in numbered(chunks, name, limits))


def numbered(
    chunks: Iterable[bytes], name: str | None = None, limits: Limits = DEFAULT
) -> Iterator[tuple[int, Record | Rejected]]:
    """Read a file of any size with line numbers, keeping one row in memory at a time.

    Args:
        chunks: The bytes of the file, in pieces of any size, plain or gzip.
        name: The format; detected from the first rows if it is None.
        limits: The limits of the file and of each row.

    Returns:
        The records of each row, or the reason for its rejection, in the order of the file.

    Raises:
        Invalid: The file is empty, its format is unknown, or no format is called ``name``.
    """
    stream = raw_rows(chunks, limits)
    head = list(islice(stream, _HEAD))
    if not head:
        raise Invalid("the file is empty")
    if all(isinstance(item, Rejected) for item in head):
        raise Invalid(f"no line could be read: {next(_reasons(head))}")
    first = [item.data for item in head if isinstance(item, RawRow)]
    chosen = name or detect(first, limits)
    return _outcomes(chain(head, stream), chosen, limits)


def outcomes(
    chunks: Iterable[bytes], name: str, limits: Limits = DEFAULT
) -> Iterator[tuple[int, Record | Rejected]]:
    """Read a file in a known format like `numbered`, but accept a file without rows.

    Raises:
        Invalid: no format is called ``name``.
    """
    return _outcomes(raw_rows(chunks, limits), name, limits)


def _outcomes(
    stream: Iterable[RawRow | Rejected], name: str, limits: Limits
) -> Iterator[tuple[int, Record | Rejected]]:
    if name == csv_prompts.NAME:
        return csv_prompts.read(stream, limits)
    return _read(stream, _named(name), limits)


def known_name(name: str) -> str:
    """Return the name if a format has it.

    Raises:
        Invalid: no format is called ``name``.
    """
    if name not in names():
        raise Invalid(f"there is no format {name!r}; the formats are {', '.join(names())}")
    return name


def _reasons(head: Iterable[RawRow | Rejected]) -> Iterator[str]:
    return (item.reason for item in head if isinstance(item, Rejected))


def _named(name: str) -> Format:
    return next(known for known in FORMATS if known.name == known_name(name))


def _read(
    stream: Iterable[RawRow | Rejected], chosen: Format, limits: Limits
) -> Iterator[tuple[int, Record | Rejected]]:
    for item in stream:
        if isinstance(item, Rejected):
            yield item.line, item
        elif item.data.strip():
            yield from ((item.number, record) for record in _records(item, chosen, limits))


def _records(item: RawRow, chosen: Format, limits: Limits) -> list[Record | Rejected]:
    try:
        return [*chosen.read(row(item.data, limits))]
    except Invalid as error:
        return [Rejected(item.number, str(error), item.data)]

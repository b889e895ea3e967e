"""Every format that comes in, told apart by its first rows or by name, and read as a stream.

A bad row becomes a Rejected with its line and reason, and the rest goes on.
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
    summaries,
    trl,
    ultrafeedback,
    vertex,
)
from app.formats.format import Format
from app.formats.items import items
from app.formats.lines import DEFAULT, Limits, Line, row
from app.formats.records import Record, Rejected

# The more particular come first: an HH row is also a TRL row.
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
    summaries.FORMAT,
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
# How many rows are looked at to tell the format.
_HEAD = 20


def names() -> dict[str, str]:
    """Return every format's name and what it holds, in words."""
    known = {one.name: one.title for one in FORMATS}
    return {**known, csv_prompts.NAME: csv_prompts.TITLE}


def detect(first_lines: Sequence[bytes], limits: Limits = DEFAULT) -> str:
    """Name the format that knows most of the first rows.

    Raises Invalid where none knows any; the message lists the fields that were found.
    """
    if not any(line.strip() for line in first_lines):
        raise Invalid("the file is empty")
    if csv_prompts.recognises(next(line for line in first_lines if line.strip())):
        return csv_prompts.NAME
    rows = []
    for line in first_lines:
        with suppress(Invalid):
            rows.append(row(line, limits))
    best = max(FORMATS, key=lambda one: sum(map(one.recognises, rows)))
    if not any(map(best.recognises, rows)):
        found = ", ".join(sorted({key for one in rows for key in one})) or "none that could be read"
        raise Invalid(
            f"no known format has these fields: {found}; name one of {', '.join(names())}"
        )
    return best.name


def read(
    chunks: Iterable[bytes], name: str | None = None, limits: Limits = DEFAULT
) -> Iterator[Record | Rejected]:
    """Read a file of any size as `numbered` does, without the numbers."""
    return (item for _, item in numbered(chunks, name, limits))


def numbered(
    chunks: Iterable[bytes], name: str | None = None, limits: Limits = DEFAULT
) -> Iterator[tuple[int, Record | Rejected]]:
    """Read a file of any size, one row in memory at a time, each with the number of its line.

    Args:
        chunks: The bytes of the file, in pieces of any size, plain or gzip.
        name: The format; detected from the first rows where it is not given.
        limits: What a row may hold.

    Returns:
        What each row says, or why it was not taken, in the file's order; a row may say several
        things.

    Raises:
        Invalid: The file is empty, its format is not known, or nothing is called ``name``.
    """
    stream = items(chunks, limits)
    head = list(islice(stream, _HEAD))
    if not head:
        raise Invalid("the file is empty")
    if all(isinstance(item, Rejected) for item in head):
        raise Invalid(f"no line could be read: {next(_reasons(head))}")
    first = [item.data for item in head if isinstance(item, Line)]
    chosen = name or detect(first, limits)
    return _outcomes(chain(head, stream), chosen, limits)


def outcomes(
    chunks: Iterable[bytes], name: str, limits: Limits = DEFAULT
) -> Iterator[tuple[int, Record | Rejected]]:
    """Read a file of a known format as `numbered` does, also where it holds nothing to read.

    Raises:
        Invalid: nothing is called ``name``.
    """
    return _outcomes(items(chunks, limits), name, limits)


def _outcomes(
    stream: Iterable[Line | Rejected], name: str, limits: Limits
) -> Iterator[tuple[int, Record | Rejected]]:
    if name == csv_prompts.NAME:
        return csv_prompts.read(stream, limits)
    return _read(stream, _named(name), limits)


def known_name(name: str) -> str:
    """Return a format's name.

    Raises:
        Invalid: nothing is called ``name``.
    """
    if name not in names():
        raise Invalid(f"there is no format {name!r}; there are {', '.join(names())}")
    return name


def _reasons(head: Iterable[Line | Rejected]) -> Iterator[str]:
    return (item.reason for item in head if isinstance(item, Rejected))


def _named(name: str) -> Format:
    return next(one for one in FORMATS if one.name == known_name(name))


def _read(
    stream: Iterable[Line | Rejected], chosen: Format, limits: Limits
) -> Iterator[tuple[int, Record | Rejected]]:
    for item in stream:
        if isinstance(item, Rejected):
            yield item.line, item
        elif item.data.strip():
            yield from ((item.number, one) for one in _records(item, chosen, limits))


def _records(item: Line, chosen: Format, limits: Limits) -> list[Record | Rejected]:
    try:
        return [*chosen.read(row(item.data, limits))]
    except Invalid as error:
        return [Rejected(item.number, str(error), item.data)]

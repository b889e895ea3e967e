"""Splits a file into rows, still as bytes: lines, elements of an array, or rows of Parquet."""

from collections.abc import Iterable, Iterator
from itertools import chain

from app.errors import Invalid
from app.formats import parquet, zip_files
from app.formats.charsets import as_utf8, peek
from app.formats.json_array import elements
from app.formats.lines import DEFAULT, Limits, RawRow, decompressed, split_lines
from app.formats.records import Rejected

# A file that starts with more whitespace than this is read as lines.
_MOST_BLANK = 4096
SEVERAL_FILES = zip_files.MAGIC[0]
"""The single row that stands for a zip archive of several files."""


def raw_rows(
    chunks: Iterable[bytes], limits: Limits = DEFAULT, notes: list[str] | None = None
) -> Iterator[RawRow | Rejected]:
    """Yield the rows of a file, compressed or not; sentences on how it was read go to ``notes``.

    If the rest of a file cannot be read (damaged gzip, an array without an end), the last row is a
    rejected one with the reason.
    """
    last = 0
    try:
        for item in _unpacked_rows(chunks, limits, notes):
            last = item.number if isinstance(item, RawRow) else item.line
            yield item
    except Invalid as error:
        yield Rejected(last + 1, f"{error}; the rest of the file was not read")


def _unpacked_rows(
    chunks: Iterable[bytes], limits: Limits, notes: list[str] | None
) -> Iterator[RawRow | Rejected]:
    head, rest = peek(decompressed(chunks, limits), len(parquet.MAGIC))
    stream = chain([head], rest)
    if head.startswith(parquet.MAGIC):
        return parquet.rows(stream, limits)
    if head.startswith(zip_files.MAGIC):
        return _zipped_rows(stream, limits, notes)
    return _text_rows(as_utf8(stream, notes), limits)


def _zipped_rows(
    stream: Iterable[bytes], limits: Limits, notes: list[str] | None
) -> Iterator[RawRow | Rejected]:
    with zip_files.opened(stream, limits) as archive:
        if len(archive.members) > 1:
            yield RawRow(1, SEVERAL_FILES)
        else:
            yield from _unpacked_rows(archive.chunks(archive.members[0]), limits, notes)


def _text_rows(stream: Iterator[bytes], limits: Limits) -> Iterator[RawRow | Rejected]:
    head = b""
    for chunk in stream:
        head += chunk
        if head.strip() or len(head) > _MOST_BLANK:
            break
    split = elements if head.lstrip().startswith(b"[") else split_lines
    return split(chain([head], stream), limits)

"""A file as a stream of rows still in bytes: lines, elements of one JSON array, rows of Parquet."""

from collections.abc import Iterable, Iterator
from itertools import chain

from app.errors import Invalid
from app.formats import parquet, zip_files
from app.formats.array import elements
from app.formats.charsets import as_utf8, peek
from app.formats.lines import DEFAULT, Limits, Line, split_lines, unpacked
from app.formats.records import Rejected

# A file that starts with more blank bytes than this is read as lines.
_MOST_BLANK = 4096
SEVERAL_FILES = zip_files.MAGIC[0]
"""The one row that a zip archive of several files has here: which file to read is not settled."""


def items(chunks: Iterable[bytes], limits: Limits = DEFAULT) -> Iterator[Line | Rejected]:
    """Yield the rows of a file, packed or not.

    A file that cannot be read on (damaged gzip, an array that does not end) ends with a rejected
    row that says so.
    """
    last = 0
    try:
        for item in _unpacked_items(chunks, limits):
            last = item.number if isinstance(item, Line) else item.line
            yield item
    except Invalid as error:
        yield Rejected(last + 1, f"{error}; nothing after this was read")


def _unpacked_items(chunks: Iterable[bytes], limits: Limits) -> Iterator[Line | Rejected]:
    head, rest = peek(unpacked(chunks, limits), len(parquet.MAGIC))
    stream = chain([head], rest)
    if head.startswith(parquet.MAGIC):
        return parquet.rows(stream, limits)
    if head.startswith(zip_files.MAGIC):
        return _zipped_items(stream, limits)
    return _text_items(as_utf8(stream), limits)


def _zipped_items(stream: Iterable[bytes], limits: Limits) -> Iterator[Line | Rejected]:
    with zip_files.opened(stream, limits) as archive:
        if len(archive.members) > 1:
            yield Line(1, SEVERAL_FILES)
        else:
            yield from _unpacked_items(archive.chunks(archive.members[0]), limits)


def _text_items(stream: Iterator[bytes], limits: Limits) -> Iterator[Line | Rejected]:
    head = b""
    for chunk in stream:
        head += chunk
        if head.strip() or len(head) > _MOST_BLANK:
            break
    split = elements if head.lstrip().startswith(b"[") else split_lines
    return split(chain([head], stream), limits)

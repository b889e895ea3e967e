"""Splits a file into rows, still as bytes: lines, or the elements of a single JSON array."""

from collections.abc import Iterable, Iterator
from itertools import chain

from app.errors import Invalid
from app.formats.json_array import elements
from app.formats.lines import DEFAULT, Limits, RawRow, decompressed, split_lines
from app.formats.records import Rejected

_BOM = b"\xef\xbb\xbf"
# A file that starts with more whitespace than this is read as lines.
_MOST_BLANK = 4096


def raw_rows(chunks: Iterable[bytes], limits: Limits = DEFAULT) -> Iterator[RawRow | Rejected]:
    """Yield the rows of a file, compressed or not.

    If the rest of a file cannot be read (damaged gzip, an array without an end), the last row is a
    rejected one with the reason.
    """
    last = 0
    try:
        stream = decompressed(chunks, limits)
        head = b""
        for chunk in stream:
            head += chunk
            if head.removeprefix(_BOM).strip() or len(head) > _MOST_BLANK:
                break
        head = head.removeprefix(_BOM)
        split = elements if head.lstrip().startswith(b"[") else split_lines
        for item in split(chain([head], stream), limits):
            last = item.number if isinstance(item, RawRow) else item.line
            yield item
    except Invalid as error:
        yield Rejected(last + 1, f"{error}; the rest of the file was not read")

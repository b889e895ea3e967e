"""A file as a stream of rows still in bytes: lines, or the elements of one JSON array."""

from collections.abc import Iterable, Iterator
from itertools import chain

from app.errors import Invalid
from app.formats.json_array import elements
from app.formats.lines import DEFAULT, Limits, RawRow, split_lines, unpacked
from app.formats.records import Rejected

_BOM = b"\xef\xbb\xbf"
# A file that starts with more blank bytes than this is read as lines.
_MOST_BLANK = 4096


def raw_rows(chunks: Iterable[bytes], limits: Limits = DEFAULT) -> Iterator[RawRow | Rejected]:
    """Yield the rows of a file, packed or not.

    A file that cannot be read on (damaged gzip, an array that does not end) ends with a rejected
    row that says so.
    """
    last = 0
    try:
        stream = unpacked(chunks, limits)
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
        yield Rejected(last + 1, f"{error}; nothing after this was read")

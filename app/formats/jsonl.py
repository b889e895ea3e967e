"""Rows to bytes: one JSON object per line, the same data always the same bytes."""

import json
import zlib
from collections.abc import Iterable, Iterator

from app.formats.records import Row

# Other programs end a line at these too; inside a text they are written as escapes.
_LINE_ENDS = {ord(c): f"\\u{ord(c):04x}" for c in "\u0085\u2028\u2029"}


def encode(row: Row) -> bytes:
    """Write one row as a line. Raises ValueError for NaN, which JSON does not have."""
    return (
        json.dumps(row, ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS) + "\n"
    ).encode()


def gzipped(chunks: Iterable[bytes], level: int = 6) -> Iterator[bytes]:
    """Pack a stream as gzip with no time and no name in it, so that equal data give equal bytes."""
    # zlib writes the gzip header itself here, with a time of zero.
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    for chunk in chunks:
        if block := packer.compress(chunk):
            yield block
    yield packer.flush()

"""Writes rows as bytes: one JSON object per line; equal data gives equal bytes."""

import json
import zlib
from collections.abc import Iterable, Iterator

from app.formats.records import Row

# Some programs end a line at these too, so inside a text they are written as escapes.
_LINE_ENDS = {ord(c): f"\\u{ord(c):04x}" for c in "\u0085\u2028\u2029"}
# Rows are trees that we have made, so there are no circles to look for.
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False).encode


def encode(row: Row) -> bytes:
    """Write one row as a line. Raises ValueError for NaN, which does not exist in JSON."""
    line = _to_json(row)
    if not line.isascii():
        line = line.translate(_LINE_ENDS)
    return (line + "\n").encode()


def gzipped(chunks: Iterable[bytes], level: int = 6) -> Iterator[bytes]:
    """Compress a stream with gzip, without a time or name, so that equal data gives equal bytes."""
    # With wbits 31, zlib writes the gzip header itself, with a time of zero.
    compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
    for chunk in chunks:
        if block := compressor.compress(chunk):
            yield block
    yield compressor.flush()

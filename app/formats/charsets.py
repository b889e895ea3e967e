"""Converts UTF-16 and UTF-32 to UTF-8; the encoding is detected by its byte-order mark."""

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain

from app.errors import Invalid

_UTF8 = codecs.BOM_UTF8
# The marks of UTF-32 start with those of UTF-16, so they come first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONGEST = 4
REMEDY = "save the file as UTF-8 (in a spreadsheet, as “CSV UTF-8”)"


def as_utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a stream as UTF-8 without a byte-order mark; a stream without a mark is unchanged.

    Raises Invalid at the point where UTF-16 or UTF-32 text is damaged.
    """
    head, stream = peek(chunks, _LONGEST)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return _recoded(chain([head.removeprefix(mark)], stream), name)
    return chain([head.removeprefix(_UTF8)], stream)


def peek(chunks: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return at least this many bytes of a stream, if it has them, and the rest of it."""
    stream, head = iter(chunks), b""
    for chunk in stream:
        head += chunk
        if len(head) >= size:
            break
    return head, stream


def _recoded(stream: Iterator[bytes], name: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(name)()
    try:
        for chunk in stream:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError as error:
        yield error.object[: error.start].decode(name).encode()
        raise Invalid(f"the {name.upper()} text is damaged: {error.reason}") from error

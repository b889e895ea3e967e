"""Turns untrusted bytes into lines, and lines into JSON objects, within limits.

One line is in memory at a time. A line that exceeds a limit is rejected, and reading continues with
the next. Interpreting the rows is left to the formats.
"""

import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from typing import NamedTuple, NoReturn

from app.domain.repeats import repeated
from app.errors import Invalid
from app.formats.charsets import REMEDY
from app.formats.records import Rejected, Row

_GZIP = b"\x1f\x8b"
_BLANKS = " \t\n\r"
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a file. ``gzip_ratio`` is the uncompressed size over the compressed size.

    ``archive_bytes`` limits the size of a zip archive or Parquet file and the uncompressed size of
    an archive; ``archive_files`` limits the number of files in an archive.
    """

    line_bytes: int = 1 << 20
    text_bytes: int = 64 << 10
    depth: int = 32
    gzip_ratio: int = 200
    archive_bytes: int = 16 << 30
    archive_files: int = 1000


DEFAULT = Limits()


class RawRow(NamedTuple):
    """The bytes of one row and its line number, starting at 1.

    A line comes without its newline, but a carriage return stays.
    """

    number: int
    data: bytes


def decompressed(chunks: Iterable[bytes], limits: Limits = DEFAULT) -> Iterator[bytes]:
    """Yield the bytes of a stream, decompressed if it is gzip.

    Raises Invalid, after yielding what could be read, if the gzip data is damaged or exceeds the
    ratio.
    """
    stream = iter(chunks)
    head = b""
    for chunk in stream:
        head += chunk
        if len(head) >= len(_GZIP):
            break
    whole = chain([head], stream)
    return _gunzip(whole, limits) if head.startswith(_GZIP) else whole


def split_lines(stream: Iterable[bytes], limits: Limits = DEFAULT) -> Iterator[RawRow | Rejected]:
    """Yield each line of a stream, including blank ones; an overlong line is rejected."""
    line = bytearray()
    is_overlong, number = False, 1
    for chunk in stream:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if line or is_overlong:
                if not is_overlong:
                    line += chunk[start:end]
                yield _line(number, bytes(line), limits)
                line.clear()
            else:
                yield _line(number, bytes(chunk[start:end]), limits)
            is_overlong, number, start = False, number + 1, end + 1
        if not is_overlong:
            line += chunk[start:]
        if len(line) > limits.line_bytes:
            # The start is kept for the rejects file; the rest is skipped.
            is_overlong = True
            del line[limits.line_bytes + 1 :]
    if line:
        yield _line(number, bytes(line), limits)


def row(data: bytes, limits: Limits = DEFAULT) -> Row:
    """Parse one line as a JSON object.

    Raises Invalid if the line is not strict UTF-8 and JSON, contains NaN or an infinity, repeats a
    field, is nested too deeply, or has a text that is too long or cannot be stored.
    """
    try:
        # The codec that drops a mark takes several times as long.
        decoded = data.decode("utf-8-sig") if data.startswith(BOM_UTF8) else data.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"byte {error.start + 1} is not UTF-8: {REMEDY}") from error
    try:
        value = _parsed(decoded)
    except RecursionError as error:
        raise Invalid(f"nested deeper than {limits.depth}") from error
    except json.JSONDecodeError as error:
        raise Invalid(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except ValueError as error:
        raise Invalid("a number has too many digits") from error
    if not isinstance(value, dict):
        raise Invalid("the line is not a JSON object")
    if _may_exceed(data, limits):
        _check(value, limits)
    return value


def _parsed(text: str) -> object:
    """Parse JSON; the usual line has nothing around it, and need not be searched for blanks."""
    if text.startswith("{"):
        value, end = _DECODER.raw_decode(text)
        if end == len(text) or not text[end:].strip(_BLANKS):
            return value
    return _DECODER.decode(text)


def _may_exceed(data: bytes, limits: Limits) -> bool:
    """Return whether the values of a line need to be looked at one by one.

    A text is no longer than its line. Only escapes can write what cannot be stored, and only
    brackets can nest.
    """
    return (
        len(data) > limits.text_bytes
        or data.count(b"{") + data.count(b"[") > limits.depth
        or b"\\u" in data
    )


def check_text(value: str, limits: Limits = DEFAULT) -> None:
    """Check that a text is not too long and that a database can store it.

    Raises:
        Invalid: with the reason.
    """
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise Invalid("a text contains half of a surrogate pair") from error
    if size > limits.text_bytes:
        raise Invalid(f"a text has {size} bytes; the limit is {limits.text_bytes}")
    if "\0" in value:
        raise Invalid("a text contains a NUL character")


def _line(number: int, data: bytes, limits: Limits) -> RawRow | Rejected:
    if len(data) > limits.line_bytes:
        reason = f"the line is longer than {limits.line_bytes} bytes"
        return Rejected(number, reason, data[: limits.line_bytes])
    return RawRow(number, data)


def _gunzip(chunks: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    compressed_size = size = 0
    decompressor = zlib.decompressobj(31)
    for chunk in chunks:
        compressed_size += len(chunk)
        while chunk:
            if decompressor.eof:  # another member follows
                decompressor = zlib.decompressobj(31)
            try:
                block = decompressor.decompress(chunk, _BLOCK)
            except zlib.error as error:
                raise Invalid("the gzip data is damaged") from error
            size += len(block)
            # Short files of one repeated line are harmless, however well they compress.
            if size > max(limits.line_bytes, compressed_size * limits.gzip_ratio):
                raise Invalid(f"the gzip data expands more than {limits.gzip_ratio} times")
            yield block
            chunk = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
    if not decompressor.eof:
        raise Invalid("the gzip data is truncated")


def _refuse_constant(name: str) -> NoReturn:
    raise Invalid(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise Invalid("a number is too large")
    return value


def _refuse_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise Invalid(f"the field {repeated(name for name, _ in pairs)!r} appears twice")
    return values


def _check(value: object, limits: Limits) -> None:
    """Check a parsed value against the limits, without recursion."""
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str):
            check_text(item, limits)
        elif isinstance(item, dict | list):
            if depth > limits.depth:
                raise Invalid(f"nested deeper than {limits.depth}")
            parts = [*item, *item.values()] if isinstance(item, dict) else item
            waiting.extend((part, depth + 1) for part in parts)


_DECODER = json.JSONDecoder(
    parse_float=_finite, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeats
)

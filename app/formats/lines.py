"""Bytes to lines, and lines to rows, within limits; nothing is believed before it is checked.

One line is in memory at a time. A line that breaks a limit is reported and the next is read. Which
format the rows are in is left to others.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from typing import NamedTuple, NoReturn

from app.errors import Invalid
from app.formats.records import Rejected, Row

_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may hold. Sizes in bytes; ``gzip_ratio`` is unpacked to packed.

    ``archive_bytes`` is the most that comes out of a zip archive, and the largest archive or
    Parquet file; ``archive_files`` the most files in one archive.
    """

    line_bytes: int = 1 << 20
    text_bytes: int = 64 << 10
    depth: int = 32
    gzip_ratio: int = 200
    archive_bytes: int = 16 << 30
    archive_files: int = 1000


DEFAULT = Limits()


class Line(NamedTuple):
    """One line without its newline, and its number from 1. A carriage return is left on it."""

    number: int
    data: bytes


def unpacked(chunks: Iterable[bytes], limits: Limits = DEFAULT) -> Iterator[bytes]:
    """Yield the bytes of a stream, unpacked if it is gzip.

    Raises Invalid, after what could be read, for damaged gzip or one that grows past the ratio.
    """
    stream = iter(chunks)
    head = b""
    for chunk in stream:
        head += chunk
        if len(head) >= len(_GZIP):
            break
    whole = chain([head], stream)
    return _gunzip(whole, limits) if head.startswith(_GZIP) else whole


def split_lines(stream: Iterable[bytes], limits: Limits = DEFAULT) -> Iterator[Line | Rejected]:
    """Yield each line of a stream, blank ones too; an overlong one is rejected unread."""
    held = bytearray()
    is_long, number = False, 1
    for chunk in stream:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if not is_long:
                held += chunk[start:end]
            yield _line(number, bytes(held), limits)
            held.clear()
            is_long, number, start = False, number + 1, end + 1
        if not is_long:
            held += chunk[start:]
        if len(held) > limits.line_bytes:
            # The start is kept for the rejects file; the rest is passed over.
            is_long = True
            del held[limits.line_bytes + 1 :]
    if held:
        yield _line(number, bytes(held), limits)


def row(data: bytes, limits: Limits = DEFAULT) -> Row:
    """Parse one line as a JSON object.

    Raises Invalid for what is not strict UTF-8 and JSON, holds NaN or an infinity, repeats a field,
    nests too deep, or has a text that is too long or cannot be stored.
    """
    try:
        decoded = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"byte {error.start + 1} is not UTF-8") from error
    try:
        value = json.loads(
            decoded, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeats
        )
    except RecursionError as error:
        raise Invalid(f"nested deeper than {limits.depth}") from error
    except json.JSONDecodeError as error:
        raise Invalid(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except ValueError as error:
        raise Invalid("a number has too many digits") from error
    if not isinstance(value, dict):
        raise Invalid("the line is not a JSON object")
    _check(value, limits)
    return value


def check_text(value: str, limits: Limits = DEFAULT) -> None:
    """Refuse a text that is too long or that a database cannot store."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise Invalid("a text holds half of a surrogate pair") from error
    if size > limits.text_bytes:
        raise Invalid(f"a text has {size} bytes; the most is {limits.text_bytes}")
    if "\0" in value:
        raise Invalid("a text holds a NUL character")


def _line(number: int, data: bytes, limits: Limits) -> Line | Rejected:
    if len(data) > limits.line_bytes:
        reason = f"the line is longer than {limits.line_bytes} bytes"
        return Rejected(number, reason, data[: limits.line_bytes])
    return Line(number, data)


def _gunzip(chunks: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    packed = size = 0
    inflate = zlib.decompressobj(31)
    for chunk in chunks:
        packed += len(chunk)
        while chunk:
            if inflate.eof:  # another member follows the one that ended
                inflate = zlib.decompressobj(31)
            try:
                block = inflate.decompress(chunk, _BLOCK)
            except zlib.error as error:
                raise Invalid("the gzip data are damaged") from error
            size += len(block)
            # Short files of one repeated line are no attack, however well they pack.
            if size > max(limits.line_bytes, packed * limits.gzip_ratio):
                raise Invalid(f"the gzip data grow more than {limits.gzip_ratio} times")
            yield block
            chunk = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if not inflate.eof:
        raise Invalid("the gzip data end too early")


def _refuse_constant(name: str) -> NoReturn:
    raise Invalid(f"{name} is not a number JSON has")


def _refuse_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"the field {twice!r} appears twice")
    return found


def _check(value: object, limits: Limits) -> None:
    """Walk a parsed value without recursion and refuse what breaks a limit."""
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str):
            check_text(item, limits)
        elif isinstance(item, float) and not isfinite(item):
            raise Invalid("a number is too large")
        elif isinstance(item, dict | list):
            if depth > limits.depth:
                raise Invalid(f"nested deeper than {limits.depth}")
            parts = [*item, *item.values()] if isinstance(item, dict) else item
            waiting.extend((part, depth + 1) for part in parts)

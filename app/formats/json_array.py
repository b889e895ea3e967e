"""Splits a JSON array of objects into its elements as it streams, so that it reads like lines.

Data sets are shared as a single array nearly as often as with one object per line.
"""

import re
from collections.abc import Iterator

from app.errors import Invalid
from app.formats.lines import Limits, RawRow
from app.formats.records import Rejected

_MARK = re.compile(rb'["\[\]{},\n]')
_INSIDE = re.compile(rb'(?:[^"\\]++|\\[\s\S])*+')
_BACKSLASH = ord("\\")
_SPACE = b" \t\r\n"


def elements(stream: Iterator[bytes], limits: Limits) -> Iterator[RawRow | Rejected]:
    """Yield the elements of a top-level array, each with the number of the line it starts on.

    Raises Invalid if the array does not end, or if something follows it.
    """
    scan = _Scan(limits)
    for chunk in stream:
        yield from scan.feed(chunk)
    if scan.depth:
        raise Invalid("the JSON array does not end")


class _Scan:
    """The state of the scan: bracket depth, whether inside a string, and the element so far."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = bytearray()
        self.depth = 0
        self.line = self.started = 1
        self.in_text = self.escaped = self.ended = False

    def feed(self, chunk: bytes) -> Iterator[RawRow | Rejected]:
        at = 0
        while at < len(chunk):
            if self.in_text:
                at = self._text(chunk, at)
                continue
            mark = _MARK.search(chunk, at)
            if mark is None:
                self._hold(chunk[at:])
                return
            if mark.start() > at:
                self._hold(chunk[at : mark.start()])
            if (element := self._mark(mark.group())) is not None:
                yield element
            at = mark.end()

    def _text(self, chunk: bytes, at: int) -> int:
        """Skip the inside of a string, and its end if it is in this chunk; return the position."""
        start = at
        if self.escaped:
            self.escaped, at = False, at + 1
        at = _INSIDE.match(chunk, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        if at < len(chunk):
            # The match stops at the closing quote or at a backslash whose partner is yet to come.
            self.in_text = self.escaped = chunk[at] == _BACKSLASH
            at += 1
        self.line += chunk.count(b"\n", start, at)
        self._hold(chunk[start:at])
        return at

    def _mark(self, mark: bytes) -> RawRow | Rejected | None:
        if mark == b"\n":
            self.line += 1
        if self.depth == 1 and mark in (b",", b"]"):
            self.depth -= mark == b"]"
            self.ended = self.depth == 0
            return self._take()
        if self.depth == 0 and mark == b"[" and not self.ended:
            self.depth = 1
            return None
        self.depth += (mark in (b"[", b"{")) - (mark in (b"]", b"}"))
        self.in_text = mark == b'"'
        self._hold(mark)
        return None

    def _hold(self, piece: bytes) -> None:
        if not self.held:
            piece = piece.lstrip(_SPACE)
            self.started = self.line
        if self.ended and piece:
            raise Invalid("something follows the end of the JSON array")
        room = self.limits.line_bytes + 1 - len(self.held)
        self.held += piece[:room]

    def _take(self) -> RawRow | Rejected | None:
        data, self.held = bytes(self.held).strip(_SPACE), bytearray()
        if len(data) > self.limits.line_bytes:
            reason = f"the element is longer than {self.limits.line_bytes} bytes"
            return Rejected(self.started, reason, data[: self.limits.line_bytes])
        return RawRow(self.started, data) if data else None

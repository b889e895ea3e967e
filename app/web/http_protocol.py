"""HTTP/1.1 on a socket, within bounds that uvicorn's fast protocol does not set.

Without them anyone could send headers without end, which costs memory and blocks the process, or
keep any number of connections open by sending nothing. Proxies have such limits; a server that is
reached directly needs its own.
"""

import json
import secrets
from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.web.security import HEADERS

HEAD_MOST: Final = 2**16
"""Bytes of the request line and the headers; what has come in one piece is taken whole."""
IDLE_S: Final = 60.0
"""How long a request may send nothing before it is complete."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose requests have small heads, and keep arriving."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_bytes = 0
        self._is_head = True
        self._is_arriving = True
        self._has_ended = False
        self._idle: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the next piece; refuse a head that is too large."""
        self._stop_waiting()
        was_head, self._has_ended = self._is_head, False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._is_head and was_head and not self._has_ended:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MOST:
                self._refuse(431, f"the headers may have {HEAD_MOST // 1024} KiB, no more")
                return
        if self._is_arriving:
            self._await_more()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._is_head = self._is_arriving = True

    def on_headers_complete(self) -> None:
        """Begin the body."""
        super().on_headers_complete()  # it fails if the address is none; then there is no request
        self._is_head, self._head_bytes = False, 0

    def on_message_complete(self) -> None:
        """End a request: from here on, the client waits and not the server."""
        self._is_head, self._head_bytes = True, 0
        self._is_arriving, self._has_ended = False, True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, msg)

    def _await_more(self) -> None:
        self._idle = self.loop.call_later(IDLE_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _give_up(self) -> None:
        if self.flow.read_paused:  # it is the server that lets the client wait
            self._await_more()
        elif self._head_bytes or not self._is_head:
            self._refuse(408, f"the request sent nothing for {IDLE_S:.0f} seconds")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer in the server's place, since there is no request that it could answer."""
        if self.transport.is_closing():
            return
        if self._is_head:
            is_answered = self.cycle is not None and not self.cycle.response_complete
        else:
            is_answered = self.cycle.response_started
        if not is_answered:
            self.transport.write(_problem(status, detail))
        self.transport.close()


def _problem(status: int, detail: str) -> bytes:
    phrase, request_id = HTTPStatus(status).phrase, secrets.token_hex(8)
    problem = {
        "type": "about:blank",
        "title": phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    body = json.dumps(problem).encode()
    headers = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "connection": "close",
        "cache-control": "no-store",
        "x-request-id": request_id,
        **HEADERS,
    }
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body

"""HTTP/1.1 on a socket, within bounds that uvicorn's fast protocol does not set.

Without them anyone could send headers without end, which costs memory and blocks the process, or
keep any number of connections open by sending nothing, or next to nothing. Proxies have such
limits; a server that is reached directly needs its own.
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
HEAD_S: Final = 60.0
"""How long the request line and the headers may take."""
BODY_S: Final = 60.0
BODY_LEAST: Final = 2**10
"""Bytes of a body within `BODY_S`; a modem sends hundreds of times as many."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose requests have small heads, and keep arriving."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_bytes = 0
        self._is_head = True
        self._is_arriving = True
        self._has_ended = False
        self._idle: TimerHandle | None = None
        self._since = 0.0
        self._body_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._await_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the next piece; refuse a head that is too large, and what comes in drops."""
        self._stop_waiting()
        was_head, self._has_ended = self._is_head, False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._is_arriving and not self._has_ended:  # empty lines before the next request
            self._begin()
        if self._is_head and was_head and not self._has_ended:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MOST:
                self._refuse(431, f"the headers may have {HEAD_MOST // 1024} KiB, no more")
                return
        if not self._is_arriving:
            return
        self._body_bytes += 0 if self._is_head else len(data)
        reason = self._reason_to_give_up()
        if reason:
            self._refuse(408, reason)
        else:
            self._await_more()

    def on_message_begin(self) -> None:
        """Begin a request; empty lines before it have begun it already."""
        super().on_message_begin()
        if not self._head_bytes:
            self._begin()

    def on_headers_complete(self) -> None:
        """Begin the body."""
        super().on_headers_complete()  # it fails if the address is none; then there is no request
        self._is_head, self._head_bytes = False, 0
        self._since, self._body_bytes = self.loop.time(), 0

    def on_message_complete(self) -> None:
        """End a request: from here on, the client waits and not the server."""
        self._is_head, self._head_bytes = True, 0
        self._is_arriving, self._has_ended = False, True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, msg)

    def _begin(self) -> None:
        self._is_head = self._is_arriving = True
        self._since = self.loop.time()

    def _reason_to_give_up(self) -> str:
        """Return why a request that keeps arriving does so too slowly; empty if it does not."""
        took = self.loop.time() - self._since
        if self._is_answering():
            self._since += took
        elif self._is_head and took > HEAD_S:
            return f"the headers took more than {HEAD_S:.0f} seconds"
        elif not self._is_head and took > BODY_S:
            if self._body_bytes < BODY_LEAST:
                return f"the body sent less than {BODY_LEAST} bytes in {BODY_S:.0f} seconds"
            self._since, self._body_bytes = self._since + took, 0
        return ""

    def _is_answering(self) -> bool:
        """Whether an earlier request of the connection still waits for the end of its answer."""
        return self._is_head and self.cycle is not None and not self.cycle.response_complete

    def _await_more(self) -> None:
        self._idle = self.loop.call_later(IDLE_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _give_up(self) -> None:
        if self.flow.read_paused or self._is_answering():  # it is the server that lets wait
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

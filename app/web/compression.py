"""Compression of texts on their way to the browser.

Only what is complete is compressed: streams, events, downloads and parts of files pass unchanged,
and so does whatever is encoded already. Pages hold a form token beside text that others have
written, which compression could give away (the attack called BREACH); it is therefore masked anew
in every response (`app.web.security.mask`).
"""

import gzip
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST: Final = 500  # bytes: below it, the headers weigh more than what is saved
MOST: Final = 2**21  # bytes: compressing more would hold up everybody else
LEVEL: Final = 5
TYPES: Final = (
    *("text/html", "text/css", "text/plain", "text/javascript", "application/javascript"),
    *("application/json", "application/problem+json", "image/svg+xml"),
)


class CompressionMiddleware:
    """Compresses complete texts with gzip for clients that accept it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        accepts = _accepts_gzip(Headers(scope=scope).get("accept-encoding", ""))
        start: Message | None = None

        async def compressed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_text(message):
                MutableHeaders(scope=message).add_vary_header("Accept-Encoding")
                if accepts:
                    start = message  # until it is known whether the body comes in one piece
                    return
            elif start is not None:
                head, start = start, None
                body = message.get("body", b"")
                is_whole = not message.get("more_body", False)
                if is_whole and LEAST <= len(body) <= MOST:
                    message = {**message, "body": _pack(head, body)}
                await send(head)
            await send(message)

        await self.app(scope, receive, compressed)


def _is_text(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_plain = "content-encoding" not in headers and "content-disposition" not in headers
    return start["status"] not in (204, 206, 304) and kind in TYPES and is_plain


def _accepts_gzip(accepted: str) -> bool:
    """Return whether a client takes gzip; `gzip;q=0` refuses it."""
    for part in accepted.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _pack(start: Message, body: bytes) -> bytes:
    packed = gzip.compress(body, LEVEL, mtime=0)
    headers = MutableHeaders(scope=start)
    headers["content-encoding"] = "gzip"
    headers["content-length"] = str(len(packed))
    if "etag" in headers and not headers["etag"].startswith("W/"):
        headers["etag"] = f"W/{headers['etag']}"  # the same text, not the same bytes
    return packed

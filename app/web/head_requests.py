"""HEAD wherever GET is answered: the same status and headers, without a body.

A HEAD request is answered as the GET request that it asks about, so it needs the same permission
and no route has to name it. Whole responses end by themselves. A stream, which may never end, is
stopped once its headers are sent.
"""

from anyio import CancelScope
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Answers HEAD as GET, and keeps the body back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        stream = CancelScope()
        is_over = False

        async def send_head(message: Message) -> None:
            nonlocal is_over
            if message["type"] == "http.response.start":
                await send(message)
                return
            if not is_over:
                is_over = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body", False):
                stream.cancel()

        with stream:
            await self.app({**scope, "method": "GET"}, receive, send_head)

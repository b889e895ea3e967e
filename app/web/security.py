"""Protection of all responses and of unsafe requests.

It covers response headers (strict CSP, no framing, no sniffing), a limit on request bodies, a
request id on every log line, and the checks against forged requests: Fetch-Metadata, Origin and a
form token.
"""

import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Forbidden

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; manifest-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types attune"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_FIELD = "csrf_token"
TOKEN_HEADER = "x-csrf-token"

log = structlog.get_logger(__name__)


class SecurityMiddleware:
    """Adds the headers and the request id, and rejects bodies over the limit."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get("x-request-id", "")[:64] or secrets.token_hex(8)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._guarded(scope, receive, send, request_id)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", _caching(scope))
            await send(message)

        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > self.max_body_bytes:
            await self._too_large(scope, receive, send_with_headers)
            return
        await self.app(scope, _limited(receive, self.max_body_bytes), send_with_headers)

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self.max_body_bytes // 2**20
        response = JSONResponse(
            {
                "title": "Too large",
                "status": 413,
                "detail": f"requests are limited to {limit} MiB",
            },
            status_code=413,
            media_type="application/problem+json",
        )
        await response(scope, receive, send)


def _caching(scope: Scope) -> str:
    if not scope["path"].startswith("/static/"):
        return "no-store"
    # Modules import each other without a version, so those are revalidated; otherwise an upgrade
    # would mix old modules with new ones.
    return "public, max-age=31536000" if scope["query_string"].startswith(b"v=") else "no-cache"


def _limited(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise Forbidden(f"requests are limited to {limit // 2**20} MiB")
        return message

    return limited


def form_token(secret: bytes, session_secret: str) -> str:
    """Return the token for the forms of a browser session."""
    return hmac.new(secret, b"form:" + session_secret.encode(), hashlib.sha256).hexdigest()


def check_origin(request: Request) -> None:
    """Reject an unsafe request that was triggered by another site.

    Raises:
        Forbidden: Fetch-Metadata or Origin names another site.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        raise Forbidden(f"this request came from another site (Sec-Fetch-Site: {site})")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden(f"this request came from another origin ({origin})")


async def check_form_token(request: Request, expected: str) -> None:
    """Reject an unsafe request of a signed-in browser without its form token.

    Raises:
        Forbidden: the token is missing or belongs to another session.
    """
    token = request.headers.get(TOKEN_HEADER)
    if token is None and _is_form(request):
        field = (await request.form()).get(TOKEN_FIELD)
        token = field if isinstance(field, str) else None
    if token is None or not hmac.compare_digest(token, expected):
        raise Forbidden("the form has expired; reload the page and submit it again")


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    return kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))

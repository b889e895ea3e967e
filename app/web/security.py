"""Protection of all responses and of unsafe requests.

It covers response headers (strict CSP, no framing, no sniffing), a limit on request bodies, a
request id on every log line, and the checks against forged requests: Fetch-Metadata, Origin and a
form token.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.digits import LARGEST, number_of
from app.errors import Forbidden
from app.web import transport

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
_MASKED = re.compile(r"[0-9a-f]{128}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger(__name__)


class SecurityMiddleware:
    """Adds the headers and the request id, and rejects bodies over the limit.

    It answers what nothing inside has answered, so that these responses carry the headers too.

    Args:
        app: the application.
        max_body_bytes: the largest body of any route.
        on_error: returns the response to an error that was not handled.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        on_error: Callable[[Request, Exception], Response],
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._guarded(scope, receive, send, request_id)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", _caching(scope))
            await send(message)

        async def answer(error: Exception) -> None:
            if not has_started:
                response = self.on_error(Request(scope, receive), error)
                await response(scope, receive, send_with_headers)

        try:
            refusal = transport.refusal(Request(scope))
            if refusal:
                raise HTTPException(403, refusal)
            if (declared_length(scope) or 0) > self.max_body_bytes:
                raise too_large(self.max_body_bytes)
            await self.app(scope, limited(receive, self.max_body_bytes), send_with_headers)
        except HTTPException as error:
            await answer(error)
        except Exception as error:
            await answer(error)
            raise  # the server reports it


def _request_id(scope: Scope) -> str:
    """Return the id that a proxy has given, if it can be written into logs, or a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _caching(scope: Scope) -> str:
    if not scope["path"].startswith("/static/"):
        return "no-store"
    # Modules import each other without a version, so those are revalidated; otherwise an upgrade
    # would mix old modules with new ones.
    return "public, max-age=31536000" if scope["query_string"].startswith(b"v=") else "no-cache"


def limited(receive: Receive, most: int) -> Receive:
    """Return a `receive` that refuses a body of more than `most` bytes."""
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise too_large(most)
        return message

    return receive_some


def too_large(most: int) -> HTTPException:
    """Return the error for a body of more than `most` bytes."""
    unit, size = ("MiB", 2**20) if most >= 2**20 else ("KiB", 2**10)
    return HTTPException(413, f"the body of this request may have {most // size} {unit}, no more")


def declared_length(scope: Scope) -> int | None:
    """Return the length of the body that the request declares; None if it declares none."""
    declared = Headers(scope=scope).get("content-length", "")
    if not (declared.isascii() and declared.isdecimal()):
        return None
    length = number_of(declared)
    return LARGEST if length is None else length


def has_body(scope: Scope) -> bool:
    """Return whether the request announces a body."""
    return bool(declared_length(scope)) or "transfer-encoding" in Headers(scope=scope)


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
    if origin is not None and _host_of(origin) not in transport.own_hosts(request):
        raise Forbidden(f"this request came from another origin ({origin})")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # such as "http://[", which no browser sends
        return None


def mask(token: str) -> str:
    """Return a form token for one response: no two responses hold the same bytes of it.

    Responses are compressed, and the length of one that holds both a secret and a text of somebody
    else's choice would tell, try by try, how they agree.
    """
    secret = bytes.fromhex(token)
    pad = secrets.token_bytes(len(secret))
    return (pad + bytes(a ^ b for a, b in zip(pad, secret, strict=True))).hex()


def unmask(token: str) -> str:
    """Return the form token that a masked one stands for; anything else as it is."""
    if not _MASKED.fullmatch(token):
        return token
    both = bytes.fromhex(token)
    half = len(both) // 2
    return bytes(a ^ b for a, b in zip(both[:half], both[half:], strict=True)).hex()


async def check_form_token(request: Request, expected: str) -> None:
    """Reject an unsafe request of a signed-in browser without its form token.

    Raises:
        Forbidden: the token is missing or belongs to another session.
    """
    token = request.headers.get(TOKEN_HEADER)
    if token is None and _is_form(request):
        field = (await request.form()).get(TOKEN_FIELD)
        token = field if isinstance(field, str) else None
    if token is None or not hmac.compare_digest(unmask(token).encode(), expected.encode()):
        raise Forbidden("the form has expired; reload the page and submit it again")


def _is_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    return kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))

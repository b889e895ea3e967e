"""Authentication: a browser's cookie or a script's bearer token."""

from dataclasses import dataclass

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.errors import Unauthenticated
from app.models import User
from app.services.people import accounts

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Viewer:
    """The user of a request, and the scopes of their credential."""

    user: User
    scopes: frozenset[str]
    session_secret: str | None  # of a browser's cookie; None with an API token

    @property
    def is_browser(self) -> bool:
        """Whether the user is authenticated by a cookie, not by an API token."""
        return self.session_secret is not None


def cookie_name(request: Request) -> str:
    """Return the name of the cookie; the `__Host-` prefix requires https."""
    return "__Host-attune" if request.url.scheme == "https" else "attune"


def credential_of(request: Request) -> tuple[str | None, str | None]:
    """Return the API token or, without one, the cookie of the browser.

    Raises:
        Unauthenticated: the authorization is not a bearer token.
    """
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    if kind:
        if kind.lower() != "bearer":
            raise Unauthenticated(f"authorization must be a bearer token, not {kind!r}")
        return secret.strip(), None
    return None, request.cookies.get(cookie_name(request))


def viewer_of(request: Request, session: Session) -> Viewer | None:
    """Return the user of a request; None if nobody is signed in.

    Raises:
        Unauthenticated: the API token is not valid.
    """
    secret, cookie = credential_of(request)
    if secret is not None:
        token = accounts.token_of(session, secret)
        return Viewer(token.user, frozenset(token.scopes), None)
    row = accounts.session_of(session, cookie) if cookie else None
    if row is None or cookie is None:
        return None
    return Viewer(row.user, frozenset(accounts.SCOPES), cookie)


def set_cookie(request: Request, response: Response, secret: str) -> None:
    """Set the session cookie: HttpOnly, SameSite=Lax, and Secure over https."""
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=int(accounts.SESSION_LIFE.total_seconds()),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def clear_cookie(request: Request, response: Response) -> None:
    """Delete the session cookie."""
    response.delete_cookie(
        cookie_name(request), path="/", secure=request.url.scheme == "https", httponly=True
    )


def is_loopback(request: Request) -> bool:
    """Return whether the request was made to a loopback address."""
    return request.headers.get("host", "").rsplit(":", 1)[0] in _LOOPBACK

"""Authentication: a browser's cookie or a script's bearer token."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.errors import Unauthenticated
from app.models import User
from app.services.people import accounts, login_sessions
from app.services.people.accounts import Granter
from app.web import transport


@dataclass(frozen=True, slots=True)
class Viewer:
    """The user of a request, and the scopes of their credential."""

    user: User
    scopes: frozenset[str]
    session_secret: str | None  # of a browser's cookie; None with an API token
    expires_at: datetime | None = None  # of an API token

    @property
    def granter(self) -> Granter:
        """What the credential can pass on to a new API token."""
        return Granter(self.scopes, self.expires_at)

    @property
    def is_browser(self) -> bool:
        """Whether the user is authenticated by a cookie, not by an API token."""
        return self.session_secret is not None


class SignInStep(StrEnum):
    """A step of signing in that a browser is at, each with a cookie of its own."""

    CODE = "code"  # the password was right, a code is asked for
    PROVIDER = "provider"  # the browser is at the single sign-on provider
    CONNECT = "connect"  # the provider knows its user, whose password is asked for once


def cookie_name(request: Request, step: SignInStep | None = None) -> str:
    """Return the name of the session's cookie or a step's; the `__Host-` prefix requires https."""
    name = f"attune-{step}" if step else "attune"
    return f"__Host-{name}" if transport.is_secure(request) else name


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

    `request.state.unnoted_use` is set where the credential's last use must be noted anew.

    Raises:
        Unauthenticated: the API token is not valid.
    """
    secret, cookie = credential_of(request)
    if secret is not None:
        token = accounts.token_of(session, secret)
        if accounts.is_unnoted(session, token):
            request.state.unnoted_use = partial(accounts.note_use, token_id=token.id)
        return Viewer(token.user, frozenset(token.scopes), None, token.expires_at)
    row = login_sessions.find(session, cookie) if cookie else None
    if row is None or cookie is None:
        return None
    if login_sessions.is_unnoted(session, row):
        request.state.unnoted_use = partial(login_sessions.note_use, session_id=row.id)
    return Viewer(row.user, frozenset(accounts.SCOPES), cookie)


def set_cookie(request: Request, response: Response, secret: str) -> None:
    """Set the session cookie: HttpOnly, SameSite=Lax, and Secure over https."""
    _set(request, response, cookie_name(request), secret, login_sessions.LIFE)


def clear_cookie(request: Request, response: Response) -> None:
    """Delete the session cookie."""
    _clear(request, response, cookie_name(request))


def step_cookie(request: Request, step: SignInStep) -> str | None:
    """Return what a browser keeps for a step of signing in."""
    return request.cookies.get(cookie_name(request, step))


def set_step_cookie(
    request: Request, response: Response, step: SignInStep, value: str, life: timedelta
) -> None:
    """Let a browser keep something for a step of signing in."""
    _set(request, response, cookie_name(request, step), value, life)


def clear_step_cookie(request: Request, response: Response, step: SignInStep) -> None:
    """Delete the cookie of a step of signing in."""
    _clear(request, response, cookie_name(request, step))


def _set(request: Request, response: Response, name: str, value: str, life: timedelta) -> None:
    response.set_cookie(
        name,
        value,
        max_age=int(life.total_seconds()),
        path="/",
        secure=transport.is_secure(request),
        httponly=True,
        samesite="lax",
    )


def _clear(request: Request, response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", secure=transport.is_secure(request), httponly=True)


def address_of(request: Request) -> str:
    """Return the address that guesses are counted against."""
    return request.client.host if request.client else "unknown"

"""What routes depend on: the transaction, who asks, and what they may do.

Authorization is one of `public`, `signed_in`, `labeler_of`, `lead_of`, `admin` on every route;
a test walks the routes and fails on one without a policy. Objects are looked up within the
project that the access names.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Forbidden, NotFound, Unauthenticated
from app.models import Membership, Project, Role, User
from app.services.people import accounts
from app.services.project import projects
from app.services.queue import queue_authentication
from app.web import security
from app.web.auth import Viewer, credential_of, viewer_of


@dataclass(frozen=True, slots=True)
class ProjectAccess:
    """A member (or an administrator) in a project, in one transaction."""

    session: Session
    project: Project
    user: User
    membership: Membership | None  # None: an administrator who is not a member
    secret: bytes

    @property
    def is_lead(self) -> bool:
        """True for the project's leads and for administrators."""
        return self.user.is_admin or (
            self.membership is not None and self.membership.role == Role.LEAD
        )

    @property
    def role(self) -> Role:
        """The role in force."""
        return Role.LEAD if self.is_lead else Role.LABELER


@dataclass(frozen=True, slots=True)
class Access:
    """A signed-in user, in one transaction."""

    session: Session
    user: User
    viewer: Viewer


Policy = TypeVar("Policy", bound=Callable[..., object])


def policy(name: str) -> Callable[[Policy], Policy]:
    """Mark a dependency as a route's authorization policy."""

    def mark(function: Policy) -> Policy:
        function.policy = name  # type: ignore[attr-defined]
        return function

    return mark


def database(request: Request) -> Database:
    """Return the application's database."""
    found: Database = request.app.state.database
    return found


async def turn(request: Request) -> AsyncIterator[None]:
    """Wait for the turn to write, where the database has one writer.

    SQLite's own wait is unfair and would hold a thread; forty of them would leave none for the
    request that has the turn.
    """
    gate: asyncio.Lock | None = request.app.state.write_gate
    if gate is None or request.method in security.SAFE_METHODS:
        yield
        return
    async with gate:
        yield


def session_of_request(
    request: Request, _turn: Annotated[None, Depends(turn, scope="function")]
) -> Iterator[Session]:
    """Open the request's transaction: writing on unsafe methods, reading otherwise.

    Declared with scope="function", so that the commit comes before the response is sent.
    """
    unsafe = request.method not in security.SAFE_METHODS
    found = database(request)
    with found.transaction() if unsafe else found.reader() as session:
        yield session


DbSession = Annotated[Session, Depends(session_of_request, scope="function")]


def viewer_if_any(request: Request, session: DbSession) -> Viewer | None:
    """Return who asks, if anybody; remembers them for the page."""
    viewer = viewer_of(request, session)
    request.state.viewer = viewer
    return viewer


async def guarded(
    request: Request, viewer: Annotated[Viewer | None, Depends(viewer_if_any)]
) -> Viewer | None:
    """Refuse forged requests: origin always, form token when a cookie speaks."""
    if request.method not in security.SAFE_METHODS and (viewer is None or viewer.is_browser):
        security.check_origin(request)
        if viewer is not None and viewer.session_secret is not None:
            secret: bytes = request.app.state.secret
            expected = security.form_token(secret, viewer.session_secret)
            await security.check_form_token(request, expected)
    return viewer


Guarded = Annotated[Viewer | None, Depends(guarded)]


@policy("public")
def public(viewer: Guarded) -> Viewer | None:
    """Let anybody in, signed in or not."""
    return viewer


@policy("signed_in")
def signed_in(request: Request, viewer: Guarded, session: DbSession) -> Access:
    """Let in whoever is signed in."""
    if viewer is None:
        raise Unauthenticated("sign in first")
    _require_scope(request, viewer, read="read", write="write")
    return Access(session, viewer.user, viewer)


@policy("admin")
def admin(request: Request, viewer: Guarded, session: DbSession) -> Access:
    """Let in administrators."""
    if viewer is None:
        raise Unauthenticated("sign in first")
    if not viewer.user.is_admin:
        raise Forbidden("only administrators may do this")
    _require_scope(request, viewer, read="admin", write="admin")
    return Access(session, viewer.user, viewer)


@policy("labeler")
def labeler_of(request: Request, slug: str, viewer: Guarded, session: DbSession) -> ProjectAccess:
    """Let in the project's members."""
    if viewer is None:
        raise Unauthenticated("sign in first")
    _require_scope(request, viewer, **_LABELS)
    return _access(request, session, viewer, slug)


@policy("lead")
def lead_of(request: Request, slug: str, viewer: Guarded, session: DbSession) -> ProjectAccess:
    """Let in the project's leads and administrators."""
    if viewer is None:
        raise Unauthenticated("sign in first")
    _require_scope(request, viewer, read="read", write="write")
    access = _access(request, session, viewer, slug)
    if not access.is_lead:
        raise Forbidden(f"only leads of {access.project.name} may do this")
    return access


@dataclass(frozen=True, slots=True)
class Desk:
    """A request to a project's queue, checked for forgery; whoever asks is known once it opens.

    Everything then happens in the route's own thread: handing each dependency to the pool would
    cost more than the work. The transaction ends before the route does, so before the response.
    """

    request: Request
    slug: str

    @contextmanager
    def open(self) -> Iterator[ProjectAccess]:
        """Open the transaction of a member of the project, or of an administrator."""
        with database(self.request).transaction() as session:
            yield self._seated(session) or self._access(session)

    def _seated(self, session: Session) -> ProjectAccess | None:
        token, cookie = credential_of(self.request)
        seat = None
        if token is not None:
            seat = queue_authentication.by_token(session, token, self.slug)
        elif cookie is not None:
            seat = queue_authentication.by_cookie(session, cookie, self.slug)
        if seat is None:
            return None
        _require_scope(self.request, Viewer(seat.user, seat.scopes, cookie), **_LABELS)
        secret: bytes = self.request.app.state.secret
        return ProjectAccess(session, seat.project, seat.user, seat.member, secret)

    def _access(self, session: Session) -> ProjectAccess:
        viewer = viewer_of(self.request, session)
        return labeler_of(self.request, self.slug, viewer, session)


@policy("labeler")
async def desk_of(
    request: Request, slug: str, _turn: Annotated[None, Depends(turn, scope="function")]
) -> Desk:
    """Let in the project's members, with few steps: for the requests of every judgment."""
    token, cookie = credential_of(request)
    if token is None:
        security.check_origin(request)
        if cookie is not None:
            secret: bytes = request.app.state.secret
            await security.check_form_token(request, security.form_token(secret, cookie))
    return Desk(request, slug)


def _access(request: Request, session: Session, viewer: Viewer, slug: str) -> ProjectAccess:
    project = projects.by_slug(session, slug)
    member = accounts.membership(session, project.id, viewer.user.id)
    if member is None and not viewer.user.is_admin:
        raise NotFound(f"there is no project {slug!r}")  # whether it exists is not theirs to know
    secret: bytes = request.app.state.secret
    access = ProjectAccess(session, project, viewer.user, member, secret)
    request.state.access = access
    return access


_LABELS = {"read": "label", "write": "label"}
_IMPLIED = {
    "label": {"label", "write", "admin"},
    "read": {"read", "write", "admin"},
    "write": {"write", "admin"},
    "admin": {"admin"},
}


def _require_scope(request: Request, viewer: Viewer, *, read: str, write: str) -> None:
    needed = read if request.method in security.SAFE_METHODS else write
    if not viewer.scopes & _IMPLIED[needed]:
        raise Forbidden(f"this needs a token with the scope {needed}")


SignedIn = Annotated[Access, Depends(signed_in)]
AdminAccess = Annotated[Access, Depends(admin)]
LabelerAccess = Annotated[ProjectAccess, Depends(labeler_of)]
LabelerDesk = Annotated[Desk, Depends(desk_of)]
LeadAccess = Annotated[ProjectAccess, Depends(lead_of)]
Anyone = Annotated[Viewer | None, Depends(public)]

"""Dependencies of routes: the transaction, the user, and the authorization policies.

Every route has exactly one policy: `public`, `signed_in`, `labeler_of`, `lead_of` or `admin`; a
test fails on a route without one. Objects are looked up within the project of the access.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

import structlog
from fastapi import Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.db import Database
from app.domain.allowed_models import AllowedModels
from app.domain.allowed_servers import AllowedServers
from app.errors import Forbidden, NotFound, SecondFactorDue, Unauthenticated
from app.models import Membership, Project, Role, User
from app.services.people import accounts, second_factors
from app.services.project import projects
from app.services.queue import queue_authentication
from app.web import security
from app.web.auth import Viewer, credential_of, viewer_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProjectAccess:
    """A member of a project, or an administrator, in one transaction."""

    session: Session
    project: Project
    user: User
    membership: Membership | None  # None for an administrator who is not a member
    secret: bytes

    @property
    def is_lead(self) -> bool:
        """Whether the user is a lead of the project or an administrator."""
        return self.user.is_admin or (
            self.membership is not None and self.membership.role == Role.LEAD
        )

    @property
    def role(self) -> Role:
        """The effective role."""
        return Role.LEAD if self.is_lead else Role.LABELER


@dataclass(frozen=True, slots=True)
class Access:
    """A signed-in user, in one transaction."""

    session: Session
    user: User
    viewer: Viewer


Policy = TypeVar("Policy", bound=Callable[..., object])

SCOPES: Final[Mapping[str, tuple[str | None, str]]] = {
    "public": (None, "write"),
    "signed_in": ("read", "write"),
    "labeler": ("label", "label"),
    "lead": ("read", "write"),
    "admin": ("admin", "admin"),
}
"""The scope of a token that a policy asks for: to read, and to change something."""


def policy(name: str) -> Callable[[Policy], Policy]:
    """Mark a dependency as an authorization policy."""

    def mark(function: Policy) -> Policy:
        function.policy = name  # type: ignore[attr-defined]
        return function

    return mark


def database(request: Request) -> Database:
    """Return the application's database."""
    database: Database = request.app.state.database
    return database


def allowed_models(request: Request) -> AllowedModels:
    """Return the models that the operator allows."""
    settings = request.app.state.settings
    return AllowedModels.of(settings.base_models, settings.trained_models)


def allowed_servers(request: Request) -> AllowedServers:
    """Return the servers that the operator allows."""
    settings = request.app.state.settings
    return AllowedServers.of(
        settings.completion_servers, settings.reward_endpoints, settings.judge_servers
    )


async def turn(request: Request) -> AsyncIterator[None]:
    """Wait for a seat, and before for the turn to write if the database allows a single writer.

    SQLite's own wait is unfair and blocks a thread; forty waiting requests would leave no thread
    for the one whose turn it is. And a request holds its connection from one dependency to the
    next, each of which needs a thread: without seats, as few as there are threads, all threads
    could wait for connections of requests that wait for threads.
    """
    gate: asyncio.Lock | None = request.app.state.write_gate
    seats: asyncio.Semaphore = request.app.state.seats
    if request.method in security.SAFE_METHODS:
        gate = None
    async with gate if gate is not None else nullcontext(), seats:
        yield


def session_of_request(
    request: Request, _turn: Annotated[None, Depends(turn, scope="function")]
) -> Iterator[Session]:
    """Open the transaction of the request: read-only for safe methods.

    It is declared with scope="function", so that it commits before the response is sent.
    """
    unsafe = request.method not in security.SAFE_METHODS
    source = database(request)
    with source.transaction() if unsafe else source.reader() as session:
        yield session


DbSession = Annotated[Session, Depends(session_of_request, scope="function")]


def viewer_if_any(request: Request, session: DbSession) -> Viewer | None:
    """Return the user of the request, if any, and store it for the page."""
    viewer = viewer_of(request, session)
    request.state.viewer = viewer
    return viewer


async def guarded(
    request: Request, viewer: Annotated[Viewer | None, Depends(viewer_if_any)]
) -> Viewer | None:
    """Reject forged requests by their origin and, with a cookie, by the form token."""
    if request.method not in security.SAFE_METHODS and (viewer is None or viewer.is_browser):
        security.check_origin(request)
        if viewer is not None and viewer.session_secret is not None:
            secret: bytes = request.app.state.secret
            expected = security.form_token(secret, viewer.session_secret)
            await security.check_form_token(request, expected)
    return viewer


Guarded = Annotated[Viewer | None, Depends(guarded)]


@policy("public")
def public(request: Request, viewer: Guarded) -> Viewer | None:
    """Allow everyone, signed in or not; an API token needs its scope."""
    if viewer is not None:
        _require_scope(request, viewer, "public")
    return viewer


@policy("public")
def open_to_all(request: Request) -> None:
    """Allow everyone, without a transaction: for a route that waits for another server first."""


@policy("signed_in")
def signed_in(request: Request, viewer: Guarded, session: DbSession) -> Access:
    """Allow signed-in users."""
    access = settling_in(request, viewer, session)
    _require_second_factor(request, access.viewer, session)
    return access


@policy("signed_in")
def settling_in(request: Request, viewer: Guarded, session: DbSession) -> Access:
    """Allow signed-in users, also those who must turn two-factor authentication on first."""
    if viewer is None:
        raise Unauthenticated("sign in first")
    _require_scope(request, viewer, "signed_in")
    return Access(session, viewer.user, viewer)


@policy("admin")
def admin(request: Request, viewer: Guarded, session: DbSession) -> Access:
    """Allow administrators."""
    if viewer is None:
        raise Unauthenticated("sign in first")
    if not viewer.user.is_admin:
        raise Forbidden("only administrators can do this")
    _require_scope(request, viewer, "admin")
    _require_second_factor(request, viewer, session)
    return Access(session, viewer.user, viewer)


@policy("labeler")
def labeler_of(request: Request, slug: str, viewer: Guarded, session: DbSession) -> ProjectAccess:
    """Allow members of the project."""
    if viewer is None:
        raise Unauthenticated("sign in first")
    _require_scope(request, viewer, "labeler")
    _require_second_factor(request, viewer, session)
    return _access(request, session, viewer, slug)


@policy("lead")
def lead_of(request: Request, slug: str, viewer: Guarded, session: DbSession) -> ProjectAccess:
    """Allow leads of the project and administrators."""
    if viewer is None:
        raise Unauthenticated("sign in first")
    _require_scope(request, viewer, "lead")
    _require_second_factor(request, viewer, session)
    access = _access(request, session, viewer, slug)
    if not access.is_lead:
        raise Forbidden(f"only leads of {access.project.name} can do this")
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
        viewer = Viewer(seat.user, seat.scopes, cookie)
        _require_scope(self.request, viewer, "labeler")
        _require_second_factor(self.request, viewer, session)
        secret: bytes = self.request.app.state.secret
        return ProjectAccess(session, seat.project, seat.user, seat.member, secret)

    def _access(self, session: Session) -> ProjectAccess:
        viewer = viewer_of(self.request, session)
        return labeler_of(self.request, self.slug, viewer, session)


@policy("labeler")
async def desk_of(
    request: Request, slug: str, _turn: Annotated[None, Depends(turn, scope="function")]
) -> Desk:
    """Allow members of the project, in few steps: used by the requests of every judgment."""
    token, cookie = credential_of(request)
    if token is None:
        security.check_origin(request)
        if cookie is not None:
            secret: bytes = request.app.state.secret
            await security.check_form_token(request, security.form_token(secret, cookie))
    return Desk(request, slug)


async def admit(request: Request, policy: Callable[..., object], *, fully: bool = False) -> None:
    """Refuse whoever the policy of an unsafe request refuses, before its body is read.

    The policy runs once more in the transaction of the request. A short body for the queue is read
    without a query, since its route authenticates as it opens; `fully` does not wait for that.
    """
    if getattr(policy, "policy", None) == "public":
        return
    token, cookie = credential_of(request)
    if token is None:
        security.check_origin(request)
        if cookie is None:
            raise Unauthenticated("sign in first")
    length = security.declared_length(request.scope)
    is_short = length is not None and length <= _SHORT_BODY
    if policy is desk_of and is_short and not fully:
        return
    await run_in_threadpool(_admit, request, labeler_of if policy is desk_of else policy)


def recognize(request: Request) -> None:
    """Note who asks, for a page outside every route; nobody if the database cannot tell."""
    request.state.viewer = None
    with suppress(Unauthenticated, SQLAlchemyError), database(request).reader() as session:
        viewer_if_any(request, session)


async def note_use(request: Request) -> None:
    """Note when the credential of a request was last used; failing to is only logged.

    It happens after the response, in a transaction of its own: reading requests cannot write.
    """
    gate: asyncio.Lock | None = request.app.state.write_gate
    async with gate if gate is not None else nullcontext():
        await run_in_threadpool(_note_use, request)


def _note_use(request: Request) -> None:
    note: Callable[[Session], None] = request.state.unnoted_use
    try:
        with database(request).transaction() as session:
            note(session)
    except SQLAlchemyError as error:
        log.warning("the use of a credential was not noted", error=str(error))


def _admit(request: Request, policy: Callable[..., object]) -> None:
    with database(request).reader() as session:
        viewer = viewer_if_any(request, session)
        named = {"slug": request.path_params["slug"]} if policy in (labeler_of, lead_of) else {}
        policy(request=request, viewer=viewer, session=session, **named)


def _access(request: Request, session: Session, viewer: Viewer, slug: str) -> ProjectAccess:
    project = projects.by_slug(session, slug)
    member = accounts.membership(session, project.id, viewer.user.id)
    if member is None and not viewer.user.is_admin:
        raise NotFound(f"there is no project {slug!r}")  # do not reveal whether it exists
    secret: bytes = request.app.state.secret
    access = ProjectAccess(session, project, viewer.user, member, secret)
    request.state.access = access
    return access


_SHORT_BODY = 2**16


def scope_of(policy: str, method: str) -> str | None:
    """Return the scope that a token needs for a request under a policy; None if it needs none."""
    reading, changing = SCOPES[policy]
    return reading if method.upper() in security.SAFE_METHODS else changing


def _require_scope(request: Request, viewer: Viewer, policy: str) -> None:
    needed = scope_of(policy, request.method)
    if needed is not None and not viewer.scopes & accounts.IMPLIED_BY[needed]:
        raise Forbidden(f"this requires a token with the scope {needed}")


def _require_second_factor(request: Request, viewer: Viewer, session: Session) -> None:
    """Refuse leads and administrators without two-factor authentication, if it is required.

    API tokens pass: they do not sign in.
    """
    if not request.app.state.settings.require_two_factor or not viewer.is_browser:
        return
    if second_factors.is_due(session, viewer.user):
        raise SecondFactorDue(
            "leads and administrators must turn two-factor authentication on first, on the "
            "account page"
        )


SignedIn = Annotated[Access, Depends(signed_in)]
SettlingIn = Annotated[Access, Depends(settling_in)]
AdminAccess = Annotated[Access, Depends(admin)]
LabelerAccess = Annotated[ProjectAccess, Depends(labeler_of)]
LabelerDesk = Annotated[Desk, Depends(desk_of)]
LeadAccess = Annotated[ProjectAccess, Depends(lead_of)]
Servers = Annotated[AllowedServers, Depends(allowed_servers)]
Anyone = Annotated[Viewer | None, Depends(public)]

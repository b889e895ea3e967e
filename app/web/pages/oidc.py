"""Signing in with the single sign-on provider (OpenID Connect)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Form, Query, Request, Response

from app.errors import AttuneError, Forbidden, NotFound
from app.services.people import identities
from app.web import addresses, auth, local_paths, oidc_flow, transport
from app.web.auth import SignInStep
from app.web.deps import Anyone, DbSession, database, open_to_all
from app.web.errors import status_of
from app.web.oidc_flow import Connection, Flow
from app.web.pages import sign_in
from app.web.render import redirect, render

if TYPE_CHECKING:  # it needs the extra `oidc`
    from app.web.oidc_provider import Provider

router = addresses.page_router()

_LOST = (
    "this sign-in did not begin in this browser, or began more than ten minutes ago: sign in again "
    "in a single tab, with cookies allowed"
)


@dataclass(frozen=True, slots=True)
class SingleSignOnProblem:
    """Why somebody was not signed in, and what to do."""

    detail: str
    button: str


@dataclass(frozen=True, slots=True)
class ConnectPage:
    """The form for the password of the account that has the same address."""

    email: str
    button: str
    error: str = ""


@router.get("/sign-in/oidc", dependencies=[Depends(open_to_all)])
def start(
    request: Request,
    target: Annotated[str, Query(alias="next")] = "/",
    invitation: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Send the browser to the provider."""
    provider = _provider(request)
    flow = Flow.begin(local_paths.inside(target), invitation)
    try:
        url = provider.address(flow, _redirect_uri(request))
    except AttuneError as error:
        return _refused(request, error)
    response = redirect(request, url)
    sealed = flow.sealed(request.app.state.secret)
    auth.set_step_cookie(request, response, SignInStep.PROVIDER, sealed, oidc_flow.LIFE)
    return response


@router.get("/sign-in/oidc/callback", dependencies=[Depends(open_to_all)])
def callback(
    request: Request,
    state: Annotated[str, Query()] = "",
    code: Annotated[str, Query()] = "",
    error: Annotated[str, Query()] = "",
    iss: Annotated[str, Query()] = "",
) -> Response:
    """Sign in whoever comes back from the provider."""
    provider = _provider(request)
    try:
        flow = _flow_of(request, state)
        _check_answer(provider, code, error, iss)
        identity = provider.identity(flow, _redirect_uri(request), code)
        with database(request).transaction() as session:
            entry = identities.sign_in(
                session,
                identity,
                provider.setup,
                invitation=flow.invitation,
                user_agent=request.headers.get("user-agent", ""),
            )
    except AttuneError as problem:
        response = _refused(request, problem)
    else:
        if entry is None:
            response = redirect(request, addresses.path("oidc.connect_form"))
            sealed = Connection(identity, flow.next).sealed(request.app.state.secret)
            auth.set_step_cookie(request, response, SignInStep.CONNECT, sealed, oidc_flow.LIFE)
        else:
            response = sign_in.let_in(request, entry, flow.next)
    auth.clear_step_cookie(request, response, SignInStep.PROVIDER)
    return response


@router.get("/sign-in/oidc/connect")
def connect_form(request: Request, _viewer: Anyone) -> Response:
    """Ask for the password of the account that has the same address, once."""
    connection = _connection(request)
    if connection is None:
        return _refused(request, Forbidden(_LOST))
    page = ConnectPage(connection.identity.email, _provider(request).setup.button)
    return render(request, "oidc/connect.html", page)


@router.post("/sign-in/oidc/connect")
def connect(
    request: Request, _viewer: Anyone, session: DbSession, password: Annotated[str, Form()]
) -> Response:
    """Connect the account and sign in, if the password is right."""
    connection, setup = _connection(request), _provider(request).setup
    if connection is None:
        return _refused(request, Forbidden(_LOST))
    entry = identities.sign_in_with_password(
        session,
        connection.identity,
        setup,
        password=password,
        address=auth.address_of(request),
        user_agent=request.headers.get("user-agent", ""),
    )
    if entry is None:
        page = ConnectPage(connection.identity.email, setup.button, "Wrong password.")
        return render(request, "oidc/connect.html", page, status=401)
    notice = "Your account is connected; from now on, single sign-on is enough."
    response = sign_in.let_in(request, entry, connection.next, notice=notice)
    auth.clear_step_cookie(request, response, SignInStep.CONNECT)
    return response


def _provider(request: Request) -> "Provider":
    provider: Provider | None = request.app.state.oidc
    if provider is None:
        raise NotFound("single sign-on is not set up here; sign in with your password")
    return provider


def _redirect_uri(request: Request) -> str:
    return transport.address_outside(request, addresses.path("oidc.callback"))


def _flow_of(request: Request, state: str) -> Flow:
    """Return the sign-in that this browser has begun, if the answer is to it."""
    kept = auth.step_cookie(request, SignInStep.PROVIDER)
    flow = Flow.unsealed(request.app.state.secret, kept) if kept else None
    if flow is None or flow.state != state:
        raise Forbidden(_LOST)
    return flow


def _check_answer(provider: "Provider", code: str, error: str, iss: str) -> None:
    provider.check_issuer(iss)
    if error == "access_denied":
        raise Forbidden(
            "you, or the provider, declined the sign-in: try again, or ask whoever "
            "manages accounts there to let you use Attune"
        )
    if error:
        raise Forbidden(
            f"the provider refused the sign-in ({error[:80]}): sign in again; if it "
            "happens again, tell the operator"
        )
    if not code:
        raise Forbidden("the provider sent no code: sign in again")


def _connection(request: Request) -> Connection | None:
    kept = auth.step_cookie(request, SignInStep.CONNECT)
    return Connection.unsealed(request.app.state.secret, kept) if kept else None


def _refused(request: Request, error: AttuneError) -> Response:
    page = SingleSignOnProblem(str(error), _provider(request).setup.button)
    return render(request, "oidc/page.html", page, status=status_of(error))

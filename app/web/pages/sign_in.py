"""Signing in, with a password and where it is on a code, and signing out."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Query, Request, Response

from app.errors import Invalid
from app.models import PendingSignIn
from app.services.people import login_sessions, pending_sign_ins, second_factors, sign_ins
from app.services.people.sign_ins import Entry
from app.web import addresses, auth, local_paths
from app.web.auth import SignInStep
from app.web.deps import Anyone, DbSession
from app.web.render import redirect, render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class SignInPage:
    """The form, with the e-mail that was entered, and the label of single sign-on's button."""

    next: str
    button: str
    email: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class CodePage:
    """The form for the code, after the password."""

    next: str
    error: str = ""


@router.get("/sign-in")
def form(
    request: Request, viewer: Anyone, target: Annotated[str, Query(alias="next")] = "/"
) -> Response:
    """Show the form, or continue if the viewer is signed in."""
    if viewer is not None:
        return redirect(request, local_paths.inside(target))
    page = SignInPage(local_paths.inside(target), button(request))
    return render(request, "sign_in/page.html", page)


@router.post("/sign-in")
def sign_in(
    request: Request,
    _viewer: Anyone,
    session: DbSession,
    email: Annotated[str, Form()],
    password: Annotated[str, Form()],
    target: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    """Check the password, and start a browser session with a new id or ask for a code."""
    agent = request.headers.get("user-agent", "")
    entry = sign_ins.with_password(
        session, email=email, password=password, address=auth.address_of(request), user_agent=agent
    )
    if entry is None:
        page = SignInPage(
            local_paths.inside(target), button(request), email, "Wrong e-mail or password."
        )
        return render(request, "sign_in/page.html", page, status=401)
    return let_in(request, entry, local_paths.inside(target))


@router.get("/sign-in/code")
def code_form(
    request: Request,
    _viewer: Anyone,
    session: DbSession,
    target: Annotated[str, Query(alias="next")] = "/",
) -> Response:
    """Ask for the code."""
    if _pending(request, session) is None:
        return _begin_again(request, target)
    return render(request, "sign_in/code.html", CodePage(local_paths.inside(target)))


@router.post("/sign-in/code")
def check_code(
    request: Request,
    _viewer: Anyone,
    session: DbSession,
    code: Annotated[str, Form()] = "",
    recovery_code: Annotated[str, Form()] = "",
    target: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    """Start a browser session if the code is right."""
    pending = _pending(request, session)
    if pending is None:
        return _begin_again(request, target)
    try:
        entry = sign_ins.with_code(
            session,
            pending,
            request.app.state.secret,
            code=code or recovery_code,
            address=auth.address_of(request),
            user_agent=request.headers.get("user-agent", ""),
        )
    except Invalid as error:
        return _refused(request, target, f"{str(error)[:1].upper()}{str(error)[1:]}.")
    if entry is None:
        return _refused(request, target, "The code is wrong or was used already.")
    left = second_factors.standing(session, pending.user_id).recovery_codes
    notice = "" if code else f"You used a recovery code; {left} are left."
    return let_in(request, entry, local_paths.inside(target), notice=notice)


@router.post("/sign-out")
def sign_out(request: Request, viewer: Anyone, session: DbSession) -> Response:
    """End this browser's session."""
    if viewer is not None and viewer.session_secret is not None:
        login_sessions.end(session, viewer.session_secret)
    response = redirect(request, addresses.path("sign_in.form"), notice="You are signed out.")
    auth.clear_cookie(request, response)
    return response


def button(request: Request) -> str:
    """Return the label of single sign-on's button; empty without a provider."""
    provider = request.app.state.oidc
    label: str = provider.setup.button if provider is not None else ""
    return label


def let_in(request: Request, entry: Entry, target: str, *, notice: str = "") -> Response:
    """Give the browser its session, or send it to the form for the code."""
    if entry.needs_code:
        url = addresses.path("sign_in.code_form", query={"next": target})
        response = redirect(request, url, notice=notice)
        auth.set_step_cookie(
            request, response, SignInStep.CODE, entry.secret, pending_sign_ins.LIFE
        )
        return response
    response = redirect(request, target, notice=notice)
    auth.set_cookie(request, response, entry.secret)
    if auth.step_cookie(request, SignInStep.CODE) is not None:
        auth.clear_step_cookie(request, response, SignInStep.CODE)
    return response


def _pending(request: Request, session: DbSession) -> PendingSignIn | None:
    secret = auth.step_cookie(request, SignInStep.CODE)
    return pending_sign_ins.find(session, secret) if secret else None


def _begin_again(request: Request, target: str) -> Response:
    url = addresses.path("sign_in.form", query={"next": local_paths.inside(target)})
    return redirect(request, url, notice="That took more than ten minutes; sign in again.")


def _refused(request: Request, target: str, error: str) -> Response:
    page = CodePage(local_paths.inside(target), error)
    return render(request, "sign_in/code.html", page, status=401)

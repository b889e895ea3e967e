"""Signing in and out."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Query, Request, Response

from app.services.people import accounts
from app.web import addresses, auth
from app.web.deps import Anyone, DbSession
from app.web.render import redirect, render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class SignInPage:
    """The form, with the e-mail that was entered."""

    next: str
    email: str = ""
    error: str = ""


@router.get("/sign-in")
def form(
    request: Request, viewer: Anyone, target: Annotated[str, Query(alias="next")] = "/"
) -> Response:
    """Show the form, or continue if the viewer is signed in."""
    if viewer is not None:
        return redirect(request, _inside(target))
    return render(request, "sign_in/page.html", SignInPage(_inside(target)))


@router.post("/sign-in")
def sign_in(
    request: Request,
    _viewer: Anyone,
    session: DbSession,
    email: Annotated[str, Form()],
    password: Annotated[str, Form()],
    target: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    """Start a browser session with a new id."""
    address = request.client.host if request.client else "unknown"
    agent = request.headers.get("user-agent", "")
    credential = accounts.sign_in(
        session, email=email, password=password, address=address, user_agent=agent
    )
    if credential is None:
        page = SignInPage(_inside(target), email, "Wrong e-mail or password.")
        return render(request, "sign_in/page.html", page, status=401)
    response = redirect(request, _inside(target))
    auth.set_cookie(request, response, credential.secret)
    return response


@router.post("/sign-out")
def sign_out(request: Request, viewer: Anyone, session: DbSession) -> Response:
    """End this browser's session."""
    if viewer is not None and viewer.session_secret is not None:
        accounts.sign_out(session, viewer.session_secret)
    response = redirect(request, addresses.path("sign_in.form"), notice="You are signed out.")
    auth.clear_cookie(request, response)
    return response


def _inside(target: str) -> str:
    # Only a local path: "//host" and "/\host" would lead to another site.
    return target if target.startswith("/") and target[1:2] not in {"/", "\\"} else "/"

"""The signed-in user's own account."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request, Response

from app.errors import Invalid
from app.models import User
from app.services.people import accounts
from app.web import addresses, auth
from app.web.deps import SignedIn
from app.web.render import redirect, render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class AccountPage:
    """The form for the name and shortcuts, and the one for the password."""

    user: User
    error: str = ""


@router.get("/account")
def show(request: Request, access: SignedIn) -> Response:
    """Show the account."""
    return render(request, "account/page.html", AccountPage(access.user))


@router.post("/account")
def save(
    request: Request,
    access: SignedIn,
    name: Annotated[str, Form()],
    single_keys: Annotated[bool, Form()] = False,
) -> Response:
    """Change the name, and whether single-key shortcuts work."""
    if not name.strip():
        return _refused(request, access.user, Invalid("the name must not be empty"))
    user = access.session.merge(access.user)
    user.name, user.single_keys = name.strip()[:120], single_keys
    return redirect(request, addresses.path("account.show"), notice="Saved.")


@router.post("/account/password")
def change_password(
    request: Request,
    access: SignedIn,
    old: Annotated[str, Form()],
    new: Annotated[str, Form()],
) -> Response:
    """Change the password and sign out all other browsers."""
    try:
        accounts.change_password(access.session, access.user, old=old, new=new)
    except Invalid as error:
        return _refused(request, access.user, error)
    credential = accounts.open_session(access.session, access.user.id)
    response = redirect(request, addresses.path("account.show"), notice="Password changed.")
    auth.set_cookie(request, response, credential.secret)
    return response


@router.post("/account/sign-out-everywhere")
def sign_out_everywhere(request: Request, access: SignedIn) -> Response:
    """End all browser sessions of the user."""
    accounts.sign_out_everywhere(access.session, access.user.id)
    response = redirect(
        request, addresses.path("sign_in.form"), notice="You are signed out everywhere."
    )
    auth.clear_cookie(request, response)
    return response


def _refused(request: Request, user: User, error: Invalid) -> Response:
    return render(request, "account/page.html", AccountPage(user, str(error)), status=422)

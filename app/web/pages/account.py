"""The signed-in user's own account: profile, password, and where it is signed in."""

import json
from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request, Response

from app.errors import Invalid
from app.models import LinkedIdentity, LoginSession, User
from app.services.people import (
    accounts,
    identities,
    login_sessions,
    personal_data,
    second_factors,
)
from app.services.people.credentials import digest
from app.web import addresses, auth
from app.web.deps import Access, SignedIn
from app.web.devices import device_name
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class AccountPage:
    """The forms for the profile and the password, and the browsers that are signed in."""

    user: User
    sessions: list[LoginSession]
    this_session: str
    has_second_factor: bool
    providers: list[LinkedIdentity]
    error: str = ""

    def is_this(self, row: LoginSession) -> bool:
        """Whether a session is that of the browser that shows the page."""
        return row.id_hash == self.this_session

    def device(self, row: LoginSession) -> str:
        """The name of a session's browser and system."""
        return device_name(row.user_agent)


@router.get("/account")
def show(request: Request, access: SignedIn) -> Response:
    """Show the account."""
    return render(request, "account/page.html", _page(access))


@router.post("/account")
def save(
    request: Request,
    access: SignedIn,
    name: Annotated[str, Form()],
    single_keys: Annotated[bool, Form()] = False,
) -> Response:
    """Change the name, and whether single-key shortcuts work."""
    if not name.strip():
        return _refused(request, access, Invalid("the name must not be empty"))
    user = access.session.merge(access.user)
    user.name, user.single_keys = name.strip()[:120], single_keys
    return redirect(request, addresses.path("account.show"), notice="Saved.")


@router.get("/account/download")
def download(access: SignedIn) -> Response:
    """Send everything that is kept about the user, one JSON object per line."""
    lines = (
        json.dumps({"table": table, "row": row}, ensure_ascii=False, default=str) + "\n"
        for table, row in personal_data.collected(access.session, access.user)
    )
    headers = {"content-disposition": 'attachment; filename="my-data.jsonl"'}
    return Response("".join(lines), media_type="application/x-ndjson", headers=headers)


@router.post("/account/password")
def change_password(
    request: Request,
    access: SignedIn,
    old: Annotated[str, Form()],
    new: Annotated[str, Form()],
) -> Response:
    """Change the password, sign out all other browsers and revoke the API tokens."""
    try:
        revoked = accounts.change_password(
            access.session, access.user, old=old, new=new, address=auth.address_of(request)
        )
    except Invalid as error:
        return _refused(request, access, error)
    notice = f"Password changed.{_revoked(revoked)}"
    response = redirect(request, addresses.path("account.show"), notice=notice)
    if access.viewer.is_browser:
        agent = request.headers.get("user-agent", "")
        credential = login_sessions.begin(access.session, access.user.id, user_agent=agent)
        auth.set_cookie(request, response, credential.secret)
    return response


@router.post("/account/sessions/{session_id}/end")
def end_session(request: Request, access: SignedIn, session_id: RowId) -> Response:
    """Sign out one browser."""
    login_sessions.end_one(access.session, access.user.id, session_id)
    return redirect(request, addresses.path("account.show"), notice="The browser is signed out.")


@router.post("/account/sign-out-everywhere")
def sign_out_everywhere(request: Request, access: SignedIn) -> Response:
    """End all browser sessions of the user and revoke the API tokens."""
    revoked = accounts.sign_out_everywhere(access.session, access.user.id)
    notice = f"You are signed out everywhere.{_revoked(revoked)}"
    response = redirect(request, addresses.path("sign_in.form"), notice=notice)
    auth.clear_cookie(request, response)
    return response


def _page(access: Access, error: str = "") -> AccountPage:
    secret = access.viewer.session_secret
    sessions = login_sessions.of_user(access.session, access.user.id)
    has_second_factor = second_factors.is_on(access.session, access.user.id)
    this_session = digest(secret) if secret else ""
    providers = identities.of_user(access.session, access.user.id)
    return AccountPage(access.user, sessions, this_session, has_second_factor, providers, error)


def _refused(request: Request, access: Access, error: Invalid) -> Response:
    return render(request, "account/page.html", _page(access, str(error)), status=422)


def _revoked(count: int) -> str:
    if not count:
        return ""
    tokens = "1 API token was" if count == 1 else f"{count} API tokens were"
    return f" {tokens} revoked; scripts need new ones."

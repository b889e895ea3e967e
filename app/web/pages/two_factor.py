"""Two-factor authentication of one's own account: turning it on and off, and recovery codes."""

from dataclasses import dataclass
from typing import Annotated

import segno
from fastapi import Form, Request, Response

from app.errors import Forbidden, Invalid
from app.services.people import accounts, login_sessions, second_factors
from app.services.people.second_factors import Enrolment, TwoFactorState
from app.web import addresses, auth
from app.web.auth import Viewer
from app.web.deps import Access, SettlingIn
from app.web.render import redirect, render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class TwoFactorPage:
    """Whether it is on, or the enrolment that waits for its first code."""

    standing: TwoFactorState
    enrolment: Enrolment | None
    is_required: bool
    has_password: bool
    error: str = ""

    @property
    def picture(self) -> str:
        """The QR code of the enrolment, as the address of an image that holds it."""
        assert self.enrolment is not None
        code = segno.make(self.enrolment.uri, error="m", micro=False)
        return code.svg_data_uri(scale=5, border=4, dark="#000", light="#fff")

    @property
    def secret_in_groups(self) -> str:
        """The secret of the enrolment, to type."""
        assert self.enrolment is not None
        secret = self.enrolment.secret
        return " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))


@dataclass(frozen=True, slots=True)
class RecoveryCodesPage:
    """New recovery codes, which are shown only once."""

    codes: list[str]
    is_new: bool


@router.get("/account/two-factor")
def show(request: Request, access: SettlingIn) -> Response:
    """Show whether it is on, or the enrolment that waits."""
    return render(request, "two_factor/page.html", _page(request, access))


@router.post("/account/two-factor/begin")
def begin(request: Request, access: SettlingIn) -> Response:
    """Begin an enrolment with a new secret."""
    _require_browser(access)
    second_factors.begin(access.session, access.user, request.app.state.secret)
    return redirect(request, addresses.path("two_factor.show"))


@router.post("/account/two-factor/confirm")
def confirm(
    request: Request,
    access: SettlingIn,
    code: Annotated[str, Form()],
    password: Annotated[str, Form()] = "",
) -> Response:
    """Turn it on, sign out all other browsers and show the recovery codes."""
    _require_browser(access)
    try:
        codes = second_factors.confirm(
            access.session,
            access.user,
            request.app.state.secret,
            password=password,
            code=code,
            address=auth.address_of(request),
        )
    except Invalid as error:
        return _refused(request, access, error)
    agent = request.headers.get("user-agent", "")
    secret = login_sessions.begin(access.session, access.user.id, user_agent=agent).secret
    # The page's forms must carry the token of the new session.
    request.state.viewer = Viewer(access.user, frozenset(accounts.SCOPES), secret)
    response = render(request, "two_factor/codes.html", RecoveryCodesPage(codes, is_new=True))
    auth.set_cookie(request, response, secret)
    return response


@router.post("/account/two-factor/recovery-codes")
def renew_recovery_codes(
    request: Request, access: SettlingIn, code: Annotated[str, Form()]
) -> Response:
    """Replace the recovery codes, and show the new ones."""
    _require_browser(access)
    try:
        codes = second_factors.renew_recovery_codes(
            access.session,
            access.user,
            request.app.state.secret,
            code=code,
            address=auth.address_of(request),
        )
    except Invalid as error:
        return _refused(request, access, error)
    return render(request, "two_factor/codes.html", RecoveryCodesPage(codes, is_new=False))


@router.post("/account/two-factor/remove")
def remove(
    request: Request,
    access: SettlingIn,
    code: Annotated[str, Form()],
    password: Annotated[str, Form()] = "",
) -> Response:
    """Turn it off."""
    _require_browser(access)
    try:
        second_factors.remove(
            access.session,
            access.user,
            request.app.state.secret,
            password=password,
            code=code,
            address=auth.address_of(request),
        )
    except Invalid as error:
        return _refused(request, access, error)
    notice = "Two-factor authentication is off."
    return redirect(request, addresses.path("two_factor.show"), notice=notice)


def _page(request: Request, access: Access, error: str = "") -> TwoFactorPage:
    session, user = access.session, access.user
    standing = second_factors.standing(session, user.id)
    waiting = None
    if access.viewer.is_browser:
        waiting = second_factors.enrolment(session, user, request.app.state.secret)
    is_required = request.app.state.settings.require_two_factor and (
        not standing.is_on and second_factors.is_due(session, user)
    )
    return TwoFactorPage(standing, waiting, is_required, user.password_hash is not None, error)


def _refused(request: Request, access: Access, error: Invalid) -> Response:
    said = f"{str(error)[:1].upper()}{str(error)[1:]}."
    page = _page(request, access, said)
    return render(request, "two_factor/page.html", page, status=422)


def _require_browser(access: Access) -> None:
    """Refuse API tokens: they are not affected, and must not lock their user out either."""
    if not access.viewer.is_browser:
        raise Forbidden("two-factor authentication is changed in a browser, not with an API token")

"""The signed-in user's API tokens."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Form, Request, Response

from app.db import now
from app.errors import Invalid
from app.models import ApiToken
from app.services.people import accounts
from app.web import addresses
from app.web.deps import Access, SignedIn
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class TokensPage:
    """The tokens of the user, and the secret of a new one, which is shown only once."""

    tokens: list[ApiToken]
    scopes: tuple[str, ...]
    moment: datetime
    secret: str = ""
    error: str = ""

    def is_expired(self, token: ApiToken) -> bool:
        """Whether a token no longer works, though nobody revoked it."""
        return token.expires_at is not None and token.expires_at <= self.moment


@router.get("/tokens")
def show(request: Request, access: SignedIn) -> Response:
    """List the tokens."""
    return render(request, "tokens/page.html", _page(access))


@router.post("/tokens")
def create(
    request: Request,
    access: SignedIn,
    name: Annotated[str, Form()],
    scopes: Annotated[list[str] | None, Form()] = None,
    days: Annotated[int, Form(ge=1, le=3650)] = 90,
    service: Annotated[bool, Form()] = False,
) -> Response:
    """Create a token and show its secret once."""
    try:
        credential = accounts.create_token(
            access.session,
            access.user,
            name=name,
            scopes=scopes or [],
            lifetime=timedelta(days=days),
            is_service=service,
            granter=access.viewer.granter,
        )
    except Invalid as error:
        return render(request, "tokens/page.html", _page(access, error=str(error)), status=422)
    return render(request, "tokens/page.html", _page(access, secret=credential.secret))


@router.post("/tokens/{token_id}/revoke")
def revoke(request: Request, access: SignedIn, token_id: RowId) -> Response:
    """Revoke a token."""
    accounts.revoke_token(access.session, access.user, token_id, granter=access.viewer.granter)
    return redirect(request, addresses.path("tokens.show"), notice="The token is revoked.")


def _page(access: Access, *, secret: str = "", error: str = "") -> TokensPage:
    scopes = tuple(scope for scope in accounts.SCOPES if scope != "admin" or access.user.is_admin)
    listed = accounts.tokens(access.session, access.user.id)
    return TokensPage(listed, scopes, now(access.session), secret, error)

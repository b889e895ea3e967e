"""People: accounts, administrators, and invitations by single-use link."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Query, Request, Response

from app.db.keyset import ListOrder
from app.errors import AttuneError
from app.models import Invitation, Project, Role, User
from app.services.people import (
    accounts,
    invitations,
    login_sessions,
    personal_data,
    second_factors,
)
from app.services.project import projects
from app.web import addresses, auth, list_orders, transport
from app.web.deps import Access, AdminAccess, Anyone, DbSession
from app.web.list_orders import Before, Direction, ListLinks, Sort, Value
from app.web.pages import sign_in
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """The accounts, the open invitations, and the forms to add people."""

    users: list[User]
    links: ListLinks
    projects: list[Project]
    invitations: list[Invitation]
    with_second_factor: frozenset[int]
    search: str = ""
    link: str = ""
    error: str = ""

    def is_erasable(self, user: User) -> bool:
        """Whether a person can be erased: the account is closed, and was not erased yet."""
        return not (user.is_active or user.is_simulated or personal_data.is_erased(user))

    @property
    def names(self) -> dict[int, str]:
        """The names of the projects by id."""
        return {project.id: project.name for project in self.projects}


@dataclass(frozen=True, slots=True)
class InvitationPage:
    """An invitation, and the form to accept it."""

    token: str
    invitation: Invitation
    project: Project | None
    button: str
    error: str = ""


@router.get("/people")
def show(
    request: Request,
    access: AdminAccess,
    q: Annotated[str, Query()] = "",
    sort: Sort = "name",
    order: Direction = "",
    before: Before = "",
    value: Value = "",
) -> Response:
    """List the accounts."""
    wanted = list_orders.read(sort, order, before, value)
    return render(request, "people/page.html", _page(access, search=q, order=wanted))


@router.post("/people/{user_id}/active")
def set_active(
    request: Request, access: AdminAccess, user_id: RowId, active: Annotated[bool, Form()]
) -> Response:
    """Close or reopen an account."""
    user = accounts.set_active(access.session, user_id, is_active=active, actor=access.user)
    return redirect(
        request,
        addresses.path("people.show"),
        notice=f"The account of {user.name} is {'open' if active else 'closed'}.",
    )


@router.post("/people/{user_id}/two-factor/reset")
def reset_two_factor(request: Request, access: AdminAccess, user_id: RowId) -> Response:
    """Turn two-factor authentication off for someone who has lost the app and the codes."""
    user = second_factors.reset(access.session, user_id, actor=access.user)
    notice = f"Two-factor authentication of {user.name} is off, and their browsers are signed out."
    return redirect(request, addresses.path("people.show"), notice=notice)


@router.post("/people/{user_id}/erase")
def erase(
    request: Request,
    access: AdminAccess,
    user_id: RowId,
    comments: Annotated[bool, Form()] = False,
) -> Response:
    """Erase who a person is, after the account has been closed."""
    accounts.closed(access.session, user_id)
    erased = personal_data.erase(
        access.session, user_id, actor_id=access.user.id, comments=comments
    )
    notice = f"User {erased.user_id} is erased; judgments stay under the pseudonym."
    return redirect(request, addresses.path("people.show"), notice=notice)


@router.post("/people/invite")
def invite(
    request: Request,
    access: AdminAccess,
    project: Annotated[str, Form()] = "",
    role: Annotated[Role, Form()] = Role.LABELER,
    email: Annotated[str, Form()] = "",
) -> Response:
    """Create a single-use invitation link."""
    target = projects.by_slug(access.session, project) if project else None
    credential = invitations.invite(
        access.session,
        project_id=target.id if target else None,
        role=role,
        email=email or None,
        actor_id=access.user.id,
    )
    path = addresses.path("people.accept_form", token=credential.secret)
    link = transport.address_outside(request, path)
    return render(request, "people/page.html", _page(access, link=link))


@router.post("/people/invitations/{invitation_id}/revoke")
def revoke(request: Request, access: AdminAccess, invitation_id: RowId) -> Response:
    """Revoke an invitation that has not been used."""
    invitations.revoke(access.session, invitation_id, actor_id=access.user.id)
    return redirect(request, addresses.path("people.show"), notice="The invitation is revoked.")


@router.get("/invitation/{token}")
def accept_form(request: Request, viewer: Anyone, session: DbSession, token: str) -> Response:
    """Show the invitation."""
    invitation = invitations.get(session, token)
    return render(request, "invitation/page.html", _invitation(request, session, token, invitation))


@router.post("/invitation/{token}")
def accept(
    request: Request,
    viewer: Anyone,
    session: DbSession,
    token: str,
    name: Annotated[str, Form()] = "",
    email: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
) -> Response:
    """Accept the invitation, and sign in a new account."""
    invitation = invitations.get(session, token)
    try:
        user = invitations.accept(
            session,
            token,
            user=viewer.user if viewer else None,
            name=name,
            email=email,
            password=password,
        )
    except AttuneError as error:
        page = _invitation(request, session, token, invitation, error=str(error))
        return render(request, "invitation/page.html", page, status=422)
    response = redirect(request, _landing(session, invitation), notice="Welcome.")
    if viewer is None:
        auth.set_cookie(request, response, login_sessions.begin(session, user.id).secret)
    return response


@router.post("/people")
def create(
    request: Request,
    access: AdminAccess,
    name: Annotated[str, Form()],
    email: Annotated[str, Form()],
    password: Annotated[str, Form()],
    is_admin: Annotated[bool, Form()] = False,
) -> Response:
    """Create an account without an invitation."""
    try:
        user = accounts.create_user(
            access.session,
            name=name,
            email=email,
            password=password,
            is_admin=is_admin,
            actor_id=access.user.id,
        )
    except AttuneError as error:
        return render(request, "people/page.html", _page(access, error=str(error)), status=422)
    return redirect(request, addresses.path("people.show"), notice=f"{user.name} can now sign in.")


def _page(
    access: Access,
    *,
    search: str = "",
    order: ListOrder = accounts.BY_NAME,
    link: str = "",
    error: str = "",
) -> PeoplePage:
    listed = [project for project, _ in projects.of_user(access.session, access.user)]
    users = accounts.page(access.session, search=search, order=order)
    pending = invitations.still_open(access.session)
    guarded = second_factors.users_with(access.session)
    links = ListLinks(order, users.next, {"q": search}, accounts.BY_NAME)
    return PeoplePage(users.rows, links, listed, pending, guarded, search, link, error)


def _landing(session: DbSession, invitation: Invitation) -> str:
    """Return the first page after accepting: in the project of the invitation, if it has one."""
    if invitation.project_id is None:
        return addresses.path("home.show")
    slug = projects.get(session, invitation.project_id).slug
    return addresses.path(
        "overview.show" if invitation.role == Role.LEAD else "label.show", slug=slug
    )


def _invitation(
    request: Request, session: DbSession, token: str, invitation: Invitation, *, error: str = ""
) -> InvitationPage:
    project = projects.get(session, invitation.project_id) if invitation.project_id else None
    return InvitationPage(token, invitation, project, sign_in.button(request), error)

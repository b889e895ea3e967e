"""Labelers: the members of a project, their quality, and how to add others."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Form, Request, Response

from app.domain.labeler_agreement import LabelerAgreement
from app.errors import AttuneError, NotFound
from app.models import Membership, Role
from app.services.datasets import imported_votes
from app.services.people import accounts, invitations
from app.services.quality import agreement, kept_figures, labeler_quality
from app.services.quality.labeler_quality import Quality
from app.services.queue import steering
from app.services.rounds import page_verdicts
from app.web import addresses, transport, verdict_words
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render
from app.web.row_ids import RowId
from app.web.verdict_words import VerdictWords

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member with their quality and agreement."""

    member: Membership
    quality: Quality | None
    agreed: LabelerAgreement | None
    holds: int = 0  # comparisons they are working on

    @property
    def is_imported(self) -> bool:
        """Whether the member stands for a labeler in an imported file."""
        return imported_votes.is_imported(self.member.user)


@dataclass(frozen=True, slots=True)
class LabelersPage:
    """The members, and the link of an invitation that was just created."""

    verdict: VerdictWords
    rows: list[MemberRow]
    link: str = ""
    error: str = ""
    as_of: datetime | None = None  # of figures that newer judgments are not in yet

    @property
    def longer_by_others(self) -> str:
        """How often others chose the longer response, if that is nearly the same for every row.

        In percent, such as "49–50"; empty where the rows differ by more than a point.
        """
        points = {
            round(100 * value)
            for row in self.rows
            if row.quality and isinstance(value := row.quality.longer_by_others.value, float)
        }
        if not points or max(points) - min(points) > 1:
            return ""
        return "–".join(str(one) for one in sorted(points))


@router.get("/p/{slug}/labelers")
def show(request: Request, access: LeadAccess) -> Response:
    """List the members."""
    return render(request, "labelers/page.html", _page(access))


@router.post("/p/{slug}/labelers/invite")
def invite(
    request: Request,
    access: LeadAccess,
    role: Annotated[Role, Form()] = Role.LABELER,
    email: Annotated[str, Form()] = "",
) -> Response:
    """Create a single-use invitation link to this project."""
    credential = invitations.invite(
        access.session,
        project_id=access.project.id,
        role=role,
        email=email or None,
        actor_id=access.user.id,
    )
    path = addresses.path("people.accept_form", token=credential.secret)
    link = transport.address_outside(request, path)
    return render(request, "labelers/page.html", _page(access, link=link))


@router.post("/p/{slug}/labelers")
def add(
    request: Request,
    access: LeadAccess,
    email: Annotated[str, Form()],
    role: Annotated[Role, Form()] = Role.LABELER,
) -> Response:
    """Add a user who has an account."""
    user = accounts.user_by_email(access.session, email)
    if user is None:
        error = f"there is no account with the e-mail {email.strip()!r}; invite them by link"
        return render(request, "labelers/page.html", _page(access, error=error), status=422)
    accounts.add_member(access.session, access.project.id, user.id, role, actor_id=access.user.id)
    return redirect(request, _url(access), notice=f"{user.name} has been added to the project.")


@router.post("/p/{slug}/labelers/{user_id}")
def change(
    request: Request,
    access: LeadAccess,
    user_id: RowId,
    role: Annotated[Role | None, Form()] = None,
    paused: Annotated[bool | None, Form()] = None,
) -> Response:
    """Change the role of a member, or pause or resume them."""
    try:
        member = _member(access, user_id)
        if role is not None:
            accounts.add_member(
                access.session, access.project.id, user_id, role, actor_id=access.user.id
            )
        if paused is not None:
            steering.pause(
                access.session,
                access.project.id,
                member.user_id,
                is_paused=paused,
                actor_id=access.user.id,
            )
    except AttuneError as error:
        page = _page(access, error=str(error))
        return render(request, "labelers/page.html", page, status=422)
    return redirect(request, _url(access), notice="Saved.")


@router.post("/p/{slug}/labelers/{user_id}/release")
def release(request: Request, access: LeadAccess, user_id: RowId) -> Response:
    """Return a labeler's leases to the queue."""
    member = _member(access, user_id)
    released = steering.release(access.session, access.project.id, user_id, actor_id=access.user.id)
    what = "1 comparison" if released == 1 else f"{released} comparisons"
    return redirect(request, _url(access), notice=f"{what} returned from {member.pseudonym}.")


def _member(access: ProjectAccess, user_id: int) -> Membership:
    member = accounts.membership(access.session, access.project.id, user_id)
    if member is None:
        raise NotFound(f"user {user_id} is not in {access.project.name}")
    return member


def _page(access: ProjectAccess, *, link: str = "", error: str = "") -> LabelersPage:
    session, project_id = access.session, access.project.id
    figures = labeler_quality.of_project(session, project_id)
    quality = {row.user_id: row for row in figures}
    verdict = page_verdicts.of_labelers(session, access.project, figures)
    held = steering.held_by_member(session, project_id)
    agreed = {str(row.labeler): row for row in agreement.of_labelers(session, project_id)}
    rows = [
        MemberRow(
            member,
            quality.get(member.user_id),
            agreed.get(member.pseudonym),
            held.get(member.user_id, 0),
        )
        for member in accounts.members(session, project_id)
    ]
    words = verdict_words.words(verdict, access.project.slug)
    return LabelersPage(words, rows, link, error, kept_figures.as_of(session))


def _url(access: ProjectAccess) -> str:
    return addresses.path("labelers.show", slug=access.project.slug)

"""What helps somebody whom a page refuses, or who finds nothing at an address: advice and links."""

from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from app.models import Role
from app.services.people import accounts
from app.web import addresses, deps
from app.web.deps import ProjectAccess

NO_PROJECT = (
    "Only its members see a project. Check the address, or ask one of its leads to add you."
)
GONE = "It may belong to another project, or to an earlier state of this installation."


@dataclass(frozen=True, slots=True)
class ErrorHelp:
    """A sentence on what to do, which may be empty, and where to go on, the best place first."""

    advice: str
    links: tuple[tuple[str, str], ...]


def of(request: Request, status: int) -> ErrorHelp:
    """Return what helps after an error; the database is asked for the leads to turn to."""
    access: ProjectAccess | None = getattr(request.state, "access", None)
    home = ("Your projects", addresses.path("home.show"))
    links = (home,) if access is None else (_start(access), home)
    if status == 404 and access is not None:
        return ErrorHelp(GONE, links)
    if status == 404 and request.url.path.startswith("/p/"):
        return ErrorHelp(NO_PROJECT, links)
    if status == 403 and access is not None and not access.is_lead:
        return ErrorHelp(_ask_leads(request, access), links)
    if status == 403 and getattr(request.state, "viewer", None) is not None and access is None:
        return ErrorHelp("Ask an administrator of this installation.", links)
    return ErrorHelp("", links)


def _start(access: ProjectAccess) -> tuple[str, str]:
    """Return where a member begins in a project."""
    slug = access.project.slug
    if access.is_lead:
        return f"Overview of {access.project.name}", addresses.path("overview.show", slug=slug)
    return f"Label in {access.project.name}", addresses.path("label.show", slug=slug)


def _ask_leads(request: Request, access: ProjectAccess) -> str:
    names: list[str] = []
    with suppress(SQLAlchemyError), deps.database(request).reader() as session:
        names = [
            member.user.name
            for member in accounts.members(session, access.project.id)
            if member.role == Role.LEAD
        ]
    if not names:
        return "Ask an administrator of this installation to do it, or to make you a lead."
    them = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return f"Ask {them} to do it, or to make you a lead."

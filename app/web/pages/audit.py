"""The audit log, newest first, and whether its chain holds."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request, Response
from sqlalchemy import select

from app.models import AuditEvent, Project, User
from app.services.people import audit
from app.web import addresses
from app.web.deps import AdminAccess
from app.web.render import render

router = addresses.page_router()
PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of events with names for people and projects."""

    events: list[tuple[AuditEvent, str, str]]
    broken_at: int | None
    next_before: int | None


@router.get("/audit")
def show(
    request: Request, access: AdminAccess, before: Annotated[int | None, Query()] = None
) -> Response:
    """Show events, newest first."""
    query = (
        select(AuditEvent, User.name, Project.name)
        .join(User, User.id == AuditEvent.actor_id, isouter=True)
        .join(Project, Project.id == AuditEvent.project_id, isouter=True)
        .order_by(AuditEvent.id.desc())
        .limit(PAGE_SIZE)
    )
    if before is not None:
        query = query.where(AuditEvent.id < before)
    events = [
        (event, who or "", project or "") for event, who, project in access.session.execute(query)
    ]
    more = events[-1][0].id if len(events) == PAGE_SIZE else None
    page = AuditPage(events, audit.broken_at(access.session), more)
    return render(request, "audit/page.html", page)

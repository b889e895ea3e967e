"""The audit log, newest first, and whether its hash chain is intact."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request, Response

from app.services.people import audit
from app.services.people.audit import AuditEntry
from app.web import addresses
from app.web.deps import AdminAccess
from app.web.render import render

router = addresses.page_router()
PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of events."""

    entries: list[AuditEntry]
    broken_at: int | None
    next_before: int | None


@router.get("/audit")
def show(
    request: Request, access: AdminAccess, before: Annotated[int | None, Query()] = None
) -> Response:
    """Show the events, newest first."""
    entries = audit.page(access.session, before_id=before, limit=PAGE_SIZE)
    next_before = entries[-1].event.id if len(entries) == PAGE_SIZE else None
    page = AuditPage(entries, audit.broken_at(access.session), next_before)
    return render(request, "audit/page.html", page)

"""The audit log, newest first, and whether its hash chain is intact."""

from dataclasses import dataclass

from fastapi import Request, Response

from app.services.people import audit
from app.services.people.audit import AuditEntry
from app.web import addresses, list_orders
from app.web.deps import AdminAccess
from app.web.list_orders import Before, Direction, ListLinks, Sort
from app.web.render import render

router = addresses.page_router()
PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of events."""

    entries: tuple[AuditEntry, ...]
    broken_at: int | None
    links: ListLinks


@router.get("/audit")
def show(
    request: Request,
    access: AdminAccess,
    sort: Sort = "",
    order: Direction = "",
    before: Before = "",
) -> Response:
    """Show the events, newest first unless asked otherwise."""
    wanted = list_orders.read(sort, order, before, "")
    listed = audit.page(access.session, order=wanted, limit=PAGE_SIZE)
    links = ListLinks(wanted, listed.next, {})
    page = AuditPage(listed.rows, audit.broken_at(access.session), links)
    return render(request, "audit/page.html", page)

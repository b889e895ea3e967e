"""The audit log: who did what, in a hash chain that reveals a missing or changed event."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import keyset, now
from app.db.keyset import NEWEST_FIRST, ListOrder
from app.db.scan import scan
from app.models import AuditEvent, Project, User

GENESIS = "0" * 64
_CHAIN_LOCK = 7_204_201  # any constant that no other advisory lock uses


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An event with the names of its actor and its project; empty without one."""

    event: AuditEvent
    actor: str
    project: str


@dataclass(frozen=True, slots=True)
class AuditEntries:
    """A page of events, and where the next one starts, if there is one."""

    rows: tuple[AuditEntry, ...]
    next: ListOrder | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What following the chain found: the intact events, and the first that breaks it."""

    events: int
    broken_at: int | None
    newest_hash: str
    contains: bool


def record(
    session: Session,
    action: str,
    subject: str,
    *,
    actor_id: int | None = None,
    project_id: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Append an event, in the transaction of the change that it records."""
    _lock(session)
    previous = session.scalar(select(AuditEvent.hash).order_by(AuditEvent.id.desc()).limit(1))
    event = AuditEvent(
        at=now(session),
        actor_id=actor_id,
        project_id=project_id,
        action=action,
        subject=subject[:120],
        details=dict(details or {}),
        previous_hash=previous or GENESIS,
    )
    event.hash = _hash(event)
    session.add(event)
    session.flush()
    return event


def page(session: Session, *, order: ListOrder = NEWEST_FIRST, limit: int = 100) -> AuditEntries:
    """Return events, newest first unless another order is asked for."""
    query = (
        select(AuditEvent, User.name, Project.name)
        .join(User, User.id == AuditEvent.actor_id, isouter=True)
        .join(Project, Project.id == AuditEvent.project_id, isouter=True)
    )
    found = keyset.page(session, query, AuditEvent.id, {}, order, limit=limit)
    rows = (AuditEntry(event, actor or "", project or "") for event, actor, project in found.rows)
    return AuditEntries(tuple(rows), found.next)


def broken_at(session: Session) -> int | None:
    """Return the id of the first event that breaks the chain, or None if it is intact."""
    return verify(session).broken_at


def verify(session: Session, *, contains: str = "") -> Verification:
    """Follow the chain from the first event; stop at one that breaks it.

    `contains` is the hash of an event that must be among them.
    """
    previous, events, has_it = GENESIS, 0, not contains
    query = select(AuditEvent.id, AuditEvent).order_by(AuditEvent.id)
    pieces = scan(session, query, AuditEvent.id, size=1000)
    for _, event in chain.from_iterable(pieces):
        if event.previous_hash != previous or event.hash != _hash(event):
            return Verification(events, event.id, previous, has_it)
        previous, events = event.hash, events + 1
        has_it = has_it or previous == contains
    return Verification(events, None, previous, has_it)


def _lock(session: Session) -> None:
    # Appending to the chain needs one writer at a time, which SQLite has anyway.
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_CHAIN_LOCK)))


def _hash(event: AuditEvent) -> str:
    body = [
        event.at.isoformat(),
        event.actor_id,
        event.project_id,
        event.action,
        event.subject,
        event.details,
        event.previous_hash,
    ]
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()

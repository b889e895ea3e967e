"""Invitations: single-use links that create an account, a membership, or both."""

import secrets
from datetime import timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.db import now
from app.errors import Invalid, NotFound
from app.models import Invitation, Role, User
from app.services.people import accounts, audit
from app.services.people.credentials import Credential, digest

LIFE = timedelta(days=7)


def invite(
    session: Session,
    *,
    project_id: int | None,
    role: Role,
    email: str | None,
    actor_id: int,
) -> Credential:
    """Create a single-use invitation; the secret is part of its link."""
    secret = secrets.token_urlsafe(24)
    moment = now(session)
    row = Invitation(
        project_id=project_id,
        role=role,
        email=email.strip().lower() if email else None,
        token_hash=digest(secret),
        created_by_id=actor_id,
        created_at=moment,
        expires_at=moment + LIFE,
    )
    session.add(row)
    session.flush()
    audit.record(
        session,
        "invitation.create",
        f"invitation {row.id}",
        actor_id=actor_id,
        project_id=project_id,
    )
    return Credential(row.id, secret)


def get(session: Session, secret: str, *, locked: bool = False) -> Invitation:
    """Return an invitation that can still be used; `locked`, as it is once it is ours to use.

    Raises:
        NotFound: unknown, used, expired or revoked.
    """
    query = select(Invitation).where(Invitation.token_hash == digest(secret))
    row = session.scalar(_locking(query) if locked else query)
    if row is None:
        raise NotFound("there is no such invitation; check the link, or ask for a new one")
    if row.used_at is not None:
        raise NotFound("this invitation was used already; sign in, or ask for a new one")
    if row.expires_at <= now(session):
        raise NotFound("this invitation is no longer open; ask for a new one")
    return row


def still_open(session: Session, project_id: int | None = None) -> list[Invitation]:
    """Return the invitations that can still be used, newest first, optionally of one project."""
    query = select(Invitation).where(
        Invitation.used_at.is_(None), Invitation.expires_at > now(session)
    )
    if project_id is not None:
        query = query.where(Invitation.project_id == project_id)
    return list(session.scalars(query.order_by(Invitation.id.desc()).limit(100)))


def revoke(session: Session, invitation_id: int, *, actor_id: int) -> None:
    """Revoke an invitation that nobody has used yet.

    Raises:
        NotFound: there is no such open invitation.
    """
    row = session.scalar(_locking(select(Invitation).where(Invitation.id == invitation_id)))
    moment = now(session)
    if row is None or row.used_at is not None or row.expires_at <= moment:
        raise NotFound(f"there is no open invitation {invitation_id}")
    row.expires_at = moment
    audit.record(
        session,
        "invitation.revoke",
        f"invitation {row.id}",
        actor_id=actor_id,
        project_id=row.project_id,
    )


def accept(
    session: Session, secret: str, *, user: User | None, name: str, email: str, password: str
) -> User:
    """Accept an invitation: create the account, unless signed in, and the membership."""
    row = get(session, secret, locked=True)
    if user is None:
        _check_address(row, email)
        user = accounts.create_user(session, email=email, name=name, password=password)
    use(session, row, user)
    return user


def usable_by(session: Session, email: str, secret: str = "") -> list[Invitation]:
    """Return the open invitations of an address, and that of a link, locked.

    Raises:
        Invalid: the link's invitation is for another address.
        NotFound: the link's invitation is unknown, used, expired or revoked.
    """
    query = select(Invitation).where(
        Invitation.email == email.strip().lower(),
        Invitation.used_at.is_(None),
        Invitation.expires_at > now(session),
    )
    rows = {row.id: row for row in session.scalars(_locking(query))}
    if secret:
        row = get(session, secret, locked=True)
        _check_address(row, email)
        rows[row.id] = row
    return list(rows.values())


def use(session: Session, row: Invitation, user: User) -> None:
    """Give a user what a locked invitation promises, and use it up."""
    if row.project_id is not None:
        accounts.add_member(session, row.project_id, user.id, row.role, actor_id=row.created_by_id)
    row.used_at, row.used_by_id = now(session), user.id


def _check_address(row: Invitation, email: str) -> None:
    if row.email and email.strip().lower() != row.email:
        raise Invalid(f"this invitation is for a different address, not {email!r}")


def _locking(query: Select[Invitation]) -> Select[Invitation]:
    """Lock the row and read it again: while waiting, someone else may have used the invitation."""
    return query.with_for_update().execution_options(populate_existing=True)

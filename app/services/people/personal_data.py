"""What is kept about a person: collected on request, and erased.

Erasing removes who somebody is: name, e-mail address, every way to sign in, and invitations.
What the person did stays under the pseudonym of each project: judgments have trained models, and
the audit log may not change. Comments are the person's own words; they stay unless their erasure is
asked for. Exports that were written before, and backups, keep what they had.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.db.base import Base
from app.errors import Conflict
from app.models import (
    ApiToken,
    Assignment,
    Invitation,
    Judgment,
    LinkedIdentity,
    LoginSession,
    PendingSignIn,
    RecoveryCode,
    SecondFactor,
    User,
)
from app.services.people import audit

DOMAIN: Final = "erased.invalid"
_COPIED_KEYS: Final = ("labeler_id",)  # of people, without a foreign key (docs/decisions/0011)
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class ErasedPerson:
    """What was erased."""

    user_id: int
    sessions: int
    tokens: int
    invitations: int
    comments: int


def collected(session: Session, user: User) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of a table and a row of it, for every row that names the person.

    Hashes of passwords, tokens and sessions and the secrets of authenticators are left out.
    """
    for table in Base.metadata.sorted_tables:
        is_theirs = _names(table, user)
        if is_theirs is not None:
            yield from _rows(session, table, is_theirs)


def is_erased(user: User) -> bool:
    """Whether the account was erased."""
    return user.email.endswith(f"@{DOMAIN}")


def erase(
    session: Session, user_id: int, *, actor_id: int | None, comments: bool = False
) -> ErasedPerson:
    """Erase who a person is, and close the account for good.

    Raises:
        Conflict: it is the only administrator who can sign in, or was erased before.
    """
    user = session.get_one(User, user_id, with_for_update=True, populate_existing=True)
    if is_erased(user):
        raise Conflict(f"user {user_id} was erased before")
    if user.is_admin and not _other_admins(session, user_id):
        raise Conflict(
            f"{user.email} is the only administrator; make another one before erasing this account"
        )
    erased = ErasedPerson(
        user_id,
        sessions=_delete(session, LoginSession, LoginSession.user_id == user_id),
        tokens=_delete(session, ApiToken, ApiToken.user_id == user_id),
        invitations=_forget_invitations(session, user),
        comments=_forget_comments(session, user_id) if comments else 0,
    )
    for table in (SecondFactor, RecoveryCode, PendingSignIn, LinkedIdentity):
        session.execute(delete(table).where(table.user_id == user_id))
    user.name, user.email = f"Erased user {user_id}", f"user-{user_id}@{DOMAIN}"
    user.password_hash = None
    user.is_active = user.is_admin = False
    session.flush()
    details = {"comments": erased.comments}
    audit.record(session, "user.erase", f"user {user_id}", actor_id=actor_id, details=details)
    return erased


def _names(table: Table, user: User) -> ColumnElement[bool] | None:
    """Return the condition that a row names the person; None if the table never names anyone."""
    if table.name == User.__tablename__:
        return table.c.id == user.id
    keys = [
        column == user.id
        for column in table.columns
        if column.name in _COPIED_KEYS
        or any(key.column.table.name == User.__tablename__ for key in column.foreign_keys)
    ]
    if table.name == Invitation.__tablename__:
        keys.append(table.c.email == user.email)
    return or_(*keys) if keys else None


def _rows(
    session: Session, table: Table, is_theirs: ColumnElement[bool]
) -> Iterator[tuple[str, dict[str, Any]]]:
    names = [column.name for column in table.columns if _is_shown(column.name)]
    query = select(*(table.c[name] for name in names)).where(is_theirs)
    ordered = query.order_by(*table.primary_key.columns).execution_options(yield_per=_PAGE)
    for row in session.execute(ordered).mappings():
        yield table.name, dict(row)


def _is_shown(name: str) -> bool:
    return not name.endswith(("hash", "secret")) and name != "lease_token"


def _other_admins(session: Session, user_id: int) -> int:
    is_other = (User.id != user_id) & User.is_admin & User.is_active
    return session.scalar(select(func.count()).where(is_other)) or 0


def _delete(session: Session, table: type[Base], condition: Any) -> int:
    key = table.__table__.c.id
    return len(session.execute(delete(table).where(condition).returning(key)).all())


def _forget_invitations(session: Session, user: User) -> int:
    """Delete invitations to the address that are open, and the address in those that were used."""
    is_theirs = Invitation.email == user.email
    deleted = _delete(session, Invitation, is_theirs & Invitation.used_at.is_(None))
    used = session.execute(
        update(Invitation)
        .where(or_(is_theirs, Invitation.used_by_id == user.id), Invitation.email.is_not(None))
        .values(email=None)
        .returning(Invitation.id)
    )
    return deleted + len(used.all())


def _forget_comments(session: Session, user_id: int) -> int:
    judged = session.execute(
        update(Judgment)
        .where(Judgment.labeler_id == user_id, Judgment.comment != "")
        .values(comment="")
        .returning(Judgment.id)
    )
    skipped = session.execute(
        update(Assignment)
        .where(Assignment.labeler_id == user_id, Assignment.skip_comment != "")
        .values(skip_comment="")
        .returning(Assignment.id)
    )
    return len(judged.all()) + len(skipped.all())

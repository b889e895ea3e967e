"""Browsers whose user has given the password and must still give a code.

They have a row and a cookie of their own, so that nothing can take them for sessions.
"""

import secrets
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, joinedload

from app.db import now
from app.models import PendingSignIn
from app.services.people.credentials import Credential, digest

LIFE = timedelta(minutes=10)


def begin(session: Session, user_id: int) -> Credential:
    """Let a browser wait for its user's code."""
    secret = secrets.token_urlsafe(32)
    moment = now(session)
    session.execute(delete(PendingSignIn).where(PendingSignIn.expires_at <= moment))
    row = PendingSignIn(
        id_hash=digest(secret), user_id=user_id, created_at=moment, expires_at=moment + LIFE
    )
    session.add(row)
    session.flush()
    return Credential(row.id, secret)


def find(session: Session, secret: str) -> PendingSignIn | None:
    """Return the sign-in of a cookie that still waits for its code, with its user."""
    row = session.scalar(
        select(PendingSignIn)
        .where(PendingSignIn.id_hash == digest(secret))
        .options(joinedload(PendingSignIn.user))
    )
    if row is None or row.expires_at <= now(session) or not row.user.is_active:
        return None
    return row


def end(session: Session, pending_id: int) -> bool:
    """End the waiting of a browser whose code was right; False if another request has ended it."""
    query = delete(PendingSignIn).where(PendingSignIn.id == pending_id)
    return bool(session.execute(query.returning(PendingSignIn.id)).all())


def end_all(session: Session, user_id: int) -> None:
    """End the waiting of all browsers of a user."""
    session.execute(delete(PendingSignIn).where(PendingSignIn.user_id == user_id))

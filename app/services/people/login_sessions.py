"""The signed-in browsers of users: opening, finding, listing and ending their sessions."""

import secrets
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, joinedload

from app.db import now
from app.errors import NotFound
from app.models import LoginSession
from app.services.people import pending_sign_ins
from app.services.people.credentials import Credential, digest

LIFE = timedelta(days=14)
SEEN_EVERY = timedelta(hours=1)
"""How exact the last use of a session is: it is written no more often."""


def begin(session: Session, user_id: int, *, user_agent: str = "") -> Credential:
    """Open a browser session for a user who has been authenticated."""
    secret = secrets.token_urlsafe(32)
    moment = now(session)
    row = LoginSession(
        id_hash=digest(secret),
        user_id=user_id,
        created_at=moment,
        last_seen_at=moment,
        expires_at=moment + LIFE,
        user_agent=user_agent[:200],
    )
    session.add(row)
    session.flush()
    return Credential(row.id, secret)


def find(session: Session, secret: str) -> LoginSession | None:
    """Return the live browser session of a cookie, with its user."""
    row = session.scalar(
        select(LoginSession)
        .where(LoginSession.id_hash == digest(secret))
        .options(joinedload(LoginSession.user))
    )
    if row is None or row.expires_at <= now(session) or not row.user.is_active:
        return None
    return row


def is_unnoted(session: Session, row: LoginSession) -> bool:
    """Return whether the last use that is noted of a session is an hour old."""
    return row.last_seen_at <= now(session) - SEEN_EVERY


def note_use(session: Session, session_id: int) -> None:
    """Note that a session is being used."""
    moment = now(session)
    session.execute(
        update(LoginSession)
        .where(LoginSession.id == session_id, LoginSession.last_seen_at <= moment - SEEN_EVERY)
        .values(last_seen_at=moment)
    )


def of_user(session: Session, user_id: int) -> list[LoginSession]:
    """Return a user's live sessions, the newest first."""
    query = select(LoginSession).where(
        LoginSession.user_id == user_id, LoginSession.expires_at > now(session)
    )
    return list(session.scalars(query.order_by(LoginSession.id.desc())))


def end(session: Session, secret: str) -> None:
    """End the browser session of a cookie."""
    session.execute(delete(LoginSession).where(LoginSession.id_hash == digest(secret)))


def end_one(session: Session, user_id: int, session_id: int) -> None:
    """End one of a user's sessions.

    Raises:
        NotFound: the user has no such session.
    """
    ended = session.execute(
        delete(LoginSession)
        .where(LoginSession.id == session_id, LoginSession.user_id == user_id)
        .returning(LoginSession.id)
    ).all()
    if not ended:
        raise NotFound(f"you have no session {session_id}; it may have ended already")


def end_all(session: Session, user_id: int) -> None:
    """End every browser session of a user, and the sign-ins that wait for a code."""
    pending_sign_ins.end_all(session, user_id)
    session.execute(delete(LoginSession).where(LoginSession.user_id == user_id))

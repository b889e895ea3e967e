"""Signing in: a password, then a code where two-factor authentication is on."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import PendingSignIn, User
from app.services.people import (
    accounts,
    guesses,
    login_sessions,
    pending_sign_ins,
    second_factors,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a browser gets: the secret of its session, or of its sign-in that waits for a code."""

    secret: str
    needs_code: bool


def with_password(
    session: Session, *, email: str, password: str, address: str, user_agent: str = ""
) -> Entry | None:
    """Check a password; None when the e-mail or the password is wrong.

    Raises:
        TooMany: too many recent sign-ins to the account, or from the address, failed.
    """
    email = email.strip().lower()
    guesses.admit(session, email, address)
    user = session.scalar(select(User).where(User.email == email, User.is_active))
    stored = user.password_hash if user else None
    if not accounts.check_password(stored, password) or user is None:
        guesses.count_failure(session, email, address)
        return None
    guesses.forget(session, email)
    return enter(session, user, user_agent=user_agent)


def enter(session: Session, user: User, *, user_agent: str = "") -> Entry:
    """Let in a user who has been authenticated, or ask for a code first."""
    if second_factors.is_on(session, user.id):
        return Entry(pending_sign_ins.begin(session, user.id).secret, needs_code=True)
    session_secret = login_sessions.begin(session, user.id, user_agent=user_agent).secret
    return Entry(session_secret, needs_code=False)


def with_code(
    session: Session,
    pending: PendingSignIn,
    key: bytes,
    *,
    code: str,
    address: str,
    user_agent: str = "",
) -> Entry | None:
    """Check the code of a sign-in that waits for it; None if it is wrong or was used already.

    Raises:
        Invalid: the app's secret cannot be decrypted.
        TooMany: too many recent codes for the account, or from the address, were wrong.
    """
    user = pending.user
    if not second_factors.use_code(session, user, key, code, address):
        return None
    if not pending_sign_ins.end(session, pending.id):
        return None
    session_secret = login_sessions.begin(session, user.id, user_agent=user_agent).secret
    return Entry(session_secret, needs_code=False)

"""People and credentials: accounts, sign-ins, API tokens, memberships."""

import hashlib
import re
import secrets
import threading
from dataclasses import dataclass
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session, joinedload

from app.db import now
from app.errors import Conflict, Invalid, NotFound, TooMany, Unauthenticated
from app.models import ApiToken, LoginSession, Membership, Role, SignInFailure, User
from app.services.people import audit

SESSION_LIFE = timedelta(days=14)
THROTTLE_WINDOW = timedelta(minutes=15)
FAILURES_PER_ACCOUNT = 10
FAILURES_PER_ADDRESS = 50
PASSWORD_MIN = 10
TOKEN_PREFIX = "att_"
SCOPES = ("label", "read", "write", "admin")

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_hasher = PasswordHasher()
# argon2 takes 64 MiB per hash: a burst of sign-ins must wait its turn, not exhaust memory.
_hashing = threading.BoundedSemaphore(2)
_DUMMY_HASH = _hasher.hash(secrets.token_urlsafe(16))


@dataclass(frozen=True, slots=True)
class Credential:
    """A new secret: shown once, stored as a hash."""

    id: int
    secret: str


def create_user(
    session: Session,
    *,
    email: str,
    name: str,
    password: str | None,
    is_admin: bool = False,
    is_simulated: bool = False,
    actor_id: int | None = None,
) -> User:
    """Create an account; without a password it can only be used through tokens."""
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email) or len(email) > 254:
        raise Invalid(f"an e-mail address looks like name@example.org, not {email!r}")
    if not name.strip():
        raise Invalid("a name must not be empty")
    if session.scalar(select(User.id).where(User.email == email)):
        raise Conflict(f"an account for {email} already exists")
    user = User(
        email=email,
        name=name.strip()[:120],
        password_hash=hash_password(password) if password is not None else None,
        is_admin=is_admin,
        is_simulated=is_simulated,
        created_at=now(session),
    )
    session.add(user)
    session.flush()
    audit.record(session, "user.create", f"user {user.id}", actor_id=actor_id)
    return user


def hash_password(password: str) -> str:
    """Hash with argon2id, at most two at a time."""
    if len(password) < PASSWORD_MIN:
        raise Invalid(
            f"a password must have {PASSWORD_MIN} characters or more, not {len(password)}"
        )
    with _hashing:
        return _hasher.hash(password)


def check_password(stored: str | None, password: str) -> bool:
    """Return whether the password matches; takes equally long when there is no account."""
    with _hashing:
        try:
            return _hasher.verify(stored or _DUMMY_HASH, password) and stored is not None
        except (VerifyMismatchError, InvalidHashError):
            return False


def sign_in(
    session: Session, *, email: str, password: str, address: str, user_agent: str = ""
) -> Credential | None:
    """Return a new browser session's secret, or None when the e-mail or the password is wrong.

    Raises:
        TooMany: too many recent sign-ins to the account, or from the address, failed.
    """
    email = email.strip().lower()
    _throttle(session, email, address)
    user = session.scalar(select(User).where(User.email == email, User.is_active))
    if not check_password(user.password_hash if user else None, password) or user is None:
        moment = now(session)
        for key in (f"account:{email}", f"address:{address}"):
            session.add(SignInFailure(key_hash=digest(key), at=moment))
        return None
    session.execute(
        delete(SignInFailure).where(SignInFailure.key_hash == digest(f"account:{email}"))
    )
    return open_session(session, user.id, user_agent=user_agent)


def open_session(session: Session, user_id: int, *, user_agent: str = "") -> Credential:
    """Open a browser session for a user who has been authenticated."""
    secret = secrets.token_urlsafe(32)
    moment = now(session)
    row = LoginSession(
        id_hash=digest(secret),
        user_id=user_id,
        created_at=moment,
        last_seen_at=moment,
        expires_at=moment + SESSION_LIFE,
        user_agent=user_agent[:200],
    )
    session.add(row)
    session.flush()
    return Credential(row.id, secret)


def session_of(session: Session, secret: str) -> LoginSession | None:
    """Return the live browser session of a cookie, with its user."""
    row = session.scalar(
        select(LoginSession)
        .where(LoginSession.id_hash == digest(secret))
        .options(joinedload(LoginSession.user))
    )
    if row is None or row.expires_at <= now(session) or not row.user.is_active:
        return None
    return row


def sign_out(session: Session, secret: str) -> None:
    """End one browser session."""
    session.execute(delete(LoginSession).where(LoginSession.id_hash == digest(secret)))


def sign_out_everywhere(session: Session, user_id: int) -> None:
    """End every browser session of a user."""
    session.execute(delete(LoginSession).where(LoginSession.user_id == user_id))


def change_password(session: Session, user: User, *, old: str, new: str) -> None:
    """Change a password; this ends every browser session."""
    if not check_password(user.password_hash, old):
        raise Invalid("the current password is wrong")
    set_password(session, user, new, actor_id=user.id)


def set_password(session: Session, user: User, new: str, *, actor_id: int | None) -> None:
    """Set a password without knowing the old one (administrators, the command line)."""
    user.password_hash = hash_password(new)
    sign_out_everywhere(session, user.id)
    audit.record(session, "user.password", f"user {user.id}", actor_id=actor_id)


def create_token(
    session: Session,
    user: User,
    *,
    name: str,
    scopes: list[str],
    lifetime: timedelta | None = timedelta(days=90),
) -> Credential:
    """Create an API token; the secret is returned once and stored as a hash."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise Invalid(
            f"a token's scopes must be among {', '.join(SCOPES)}, not {unknown or 'none'}"
        )
    if "admin" in scopes and not user.is_admin:
        raise Invalid("only an administrator's token can have the scope admin")
    if not name.strip():
        raise Invalid("a token needs a name that says what it is for")
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    moment = now(session)
    row = ApiToken(
        user_id=user.id,
        name=name.strip()[:120],
        prefix=secret[:10],
        token_hash=digest(secret),
        scopes=list(scopes),
        created_at=moment,
        expires_at=moment + lifetime if lifetime else None,
    )
    session.add(row)
    session.flush()
    audit.record(session, "token.create", f"token {row.id}", actor_id=user.id)
    return Credential(row.id, secret)


def token_of(session: Session, secret: str) -> ApiToken:
    """Return the live token of a bearer secret, with its user.

    Raises:
        Unauthenticated: unknown, revoked or expired.
    """
    row = session.scalar(
        select(ApiToken)
        .where(ApiToken.token_hash == digest(secret))
        .options(joinedload(ApiToken.user))
    )
    if row is None or row.revoked_at is not None or not row.user.is_active:
        raise Unauthenticated("the API token is unknown or was revoked")
    if row.expires_at is not None and row.expires_at <= now(session):
        raise Unauthenticated(f"the API token expired at {row.expires_at:%Y-%m-%d %H:%M} UTC")
    return row


def tokens(session: Session, user_id: int) -> list[ApiToken]:
    """Return a user's tokens, newest first."""
    query = select(ApiToken).where(ApiToken.user_id == user_id).order_by(ApiToken.id.desc())
    return list(session.scalars(query))


def revoke_token(session: Session, user: User, token_id: int) -> None:
    """Revoke one of the user's own tokens (an administrator: anyone's)."""
    row = session.get(ApiToken, token_id)
    if row is None or (row.user_id != user.id and not user.is_admin):
        raise NotFound(f"there is no token {token_id} of yours")
    row.revoked_at = row.revoked_at or now(session)
    audit.record(session, "token.revoke", f"token {row.id}", actor_id=user.id)


def add_member(
    session: Session, project_id: int, user_id: int, role: Role, *, actor_id: int | None
) -> Membership:
    """Add a member or change their role; pseudonyms are never reused."""
    row = membership(session, project_id, user_id)
    if row is None:
        count = session.scalar(
            select(func.count()).select_from(Membership).where(Membership.project_id == project_id)
        )
        row = Membership(
            project_id=project_id,
            user_id=user_id,
            role=role,
            pseudonym=f"L{(count or 0) + 1}",
            created_at=now(session),
        )
        session.add(row)
    row.role = role
    session.flush()
    audit.record(
        session,
        "member.set",
        f"user {user_id}",
        actor_id=actor_id,
        project_id=project_id,
        details={"role": role},
    )
    return row


def membership(session: Session, project_id: int, user_id: int) -> Membership | None:
    """Return a user's membership in a project."""
    return session.scalar(
        select(Membership).where(Membership.project_id == project_id, Membership.user_id == user_id)
    )


def members(session: Session, project_id: int) -> list[Membership]:
    """Return a project's members with their users, in the order they joined."""
    query = (
        select(Membership)
        .where(Membership.project_id == project_id)
        .options(joinedload(Membership.user))
        .order_by(Membership.id)
    )
    return list(session.scalars(query))


def user_by_email(session: Session, email: str) -> User | None:
    """Return the account of an e-mail address, however it is written."""
    return session.scalar(select(User).where(User.email == email.strip().lower()))


def user_name(session: Session, user_id: int | None) -> str:
    """Return a user's name; empty without a user."""
    user = session.get(User, user_id) if user_id is not None else None
    return user.name if user else ""


def users(session: Session, *, search: str = "") -> list[User]:
    """Return accounts, people before simulated labelers."""
    query = select(User).order_by(User.is_simulated, User.name, User.id).limit(500)
    if search:
        pattern = f"%{search.lower()}%"
        query = query.where(or_(func.lower(User.name).like(pattern), User.email.like(pattern)))
    return list(session.scalars(query))


def set_active(session: Session, user_id: int, *, is_active: bool, actor: User) -> User:
    """Close or reopen an account; closing ends its browser sessions."""
    user = session.get(User, user_id)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    if user.id == actor.id and not is_active:
        raise Invalid("you cannot close your own account; ask another administrator")
    user.is_active = is_active
    if not is_active:
        sign_out_everywhere(session, user.id)
    audit.record(
        session,
        "user.open" if is_active else "user.close",
        f"user {user.id}",
        actor_id=actor.id,
    )
    return user


def _throttle(session: Session, email: str, address: str) -> None:
    moment = now(session)
    session.execute(delete(SignInFailure).where(SignInFailure.at < moment - THROTTLE_WINDOW))
    limits = {
        f"account:{email}": FAILURES_PER_ACCOUNT,
        f"address:{address}": FAILURES_PER_ADDRESS,
    }
    for key, limit in limits.items():
        failures = session.scalar(
            select(func.count())
            .select_from(SignInFailure)
            .where(SignInFailure.key_hash == digest(key))
        )
        if (failures or 0) >= limit:
            wait_s = int(THROTTLE_WINDOW.total_seconds())
            raise TooMany("too many failed sign-ins; try again in 15 minutes", wait_s)


def digest(secret: str) -> str:
    """Hash a secret as it is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()

"""People and credentials: accounts, passwords, API tokens, memberships."""

import re
import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import case, func, or_, select, update
from sqlalchemy.orm import Session, joinedload

from app.db import keyset, now
from app.db.keyset import ListOrder
from app.errors import Conflict, Invalid, NotFound, Unauthenticated
from app.models import ApiToken, Membership, Role, User
from app.services.people import audit, guesses, login_sessions
from app.services.people.credentials import Credential, digest

PASSWORD_MIN = 10
TOKEN_PREFIX = "att_"
SCOPES = ("label", "read", "write", "admin")
IMPLIED_BY: Mapping[str, frozenset[str]] = {
    "label": frozenset({"label", "write", "admin"}),
    "read": frozenset({"read", "write", "admin"}),
    "write": frozenset({"write", "admin"}),
    "admin": frozenset({"admin"}),
}
"""The scopes that include a scope."""
SORTABLE = {"name": case((User.is_simulated, "1"), else_="0") + User.name, "email": User.email}
"""The columns that accounts can be sorted by: by name, people before simulated labelers."""
BY_NAME = ListOrder("name", is_ascending=True)

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_hasher = PasswordHasher()
# argon2 takes 64 MiB per hash: a burst of sign-ins must wait its turn, not exhaust memory.
_hashing = threading.BoundedSemaphore(2)
_DUMMY_HASH = _hasher.hash(secrets.token_urlsafe(16))


@dataclass(frozen=True, slots=True)
class ListedUsers:
    """A page of accounts, and where the next one starts, if there is one."""

    rows: list[User]
    next: ListOrder | None


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
    """Create an account; without a password, tokens and single sign-on can use it."""
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


def sign_out_everywhere(session: Session, user_id: int) -> int:
    """End every browser session of a user and revoke the API tokens; return how many tokens.

    Tokens of services stay.
    """
    login_sessions.end_all(session, user_id)
    revoked = session.execute(
        update(ApiToken)
        .where(
            ApiToken.user_id == user_id,
            ApiToken.revoked_at.is_(None),
            ApiToken.is_service.is_(False),
        )
        .values(revoked_at=now(session))
        .returning(ApiToken.id)
    ).all()
    return len(revoked)


def change_password(session: Session, user: User, *, old: str, new: str, address: str) -> int:
    """Change a password, which ends what `sign_out_everywhere` ends; return how many tokens.

    Raises:
        Invalid: the current password is wrong, or the new one too short.
        TooMany: too many recent guesses at the password were wrong.
    """
    guesses.admit(session, user.email, address)
    if not check_password(user.password_hash, old):
        guesses.count_failure(session, user.email, address)
        raise Invalid("the current password is wrong")
    guesses.forget(session, user.email)
    return set_password(session, user, new, actor_id=user.id)


def set_password(session: Session, user: User, new: str, *, actor_id: int | None) -> int:
    """Set a password without knowing the old one (administrators, the command line).

    Returns the number of API tokens that it revoked.
    """
    user.password_hash = hash_password(new)
    revoked = sign_out_everywhere(session, user.id)
    details = {"revoked_tokens": revoked}
    audit.record(session, "user.password", f"user {user.id}", actor_id=actor_id, details=details)
    return revoked


@dataclass(frozen=True, slots=True)
class Granter:
    """The credential that asks for a token: no token gets more than it has itself."""

    scopes: Collection[str] = SCOPES
    expires_at: datetime | None = None


def create_token(
    session: Session,
    user: User,
    *,
    name: str,
    scopes: list[str],
    lifetime: timedelta | None = timedelta(days=90),
    is_service: bool = False,
    granter: Granter | None = None,
) -> Credential:
    """Create an API token; the secret is returned once and stored as a hash.

    Raises:
        Invalid: a scope or the lifetime breaks a rule, or exceeds what the granter has.
    """
    _check_scopes(user, scopes, granter or Granter())
    if not name.strip():
        raise Invalid("a token needs a name that says what it is for")
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    moment = now(session)
    expires_at = moment + lifetime if lifetime else None
    limit = granter.expires_at if granter else None
    if limit is not None and (expires_at is None or expires_at > limit):
        raise Invalid(
            f"a token made with an API token expires no later than it, at {limit:%Y-%m-%d %H:%M} "
            f"UTC, not {f'{expires_at:%Y-%m-%d %H:%M}' if expires_at else 'never'}"
        )
    row = ApiToken(
        user_id=user.id,
        name=name.strip()[:120],
        prefix=secret[:10],
        token_hash=digest(secret),
        scopes=list(scopes),
        is_service=is_service,
        created_at=moment,
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    audit.record(session, "token.create", f"token {row.id}", actor_id=user.id)
    return Credential(row.id, secret)


def _check_scopes(user: User, scopes: list[str], granter: Granter) -> None:
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise Invalid(
            f"a token's scopes must be among {', '.join(SCOPES)}, not {unknown or 'none'}"
        )
    if "admin" in scopes and not user.is_admin:
        raise Invalid("only an administrator's token can have the scope admin")
    for scope in scopes:
        if not IMPLIED_BY[scope].intersection(granter.scopes):
            raise Invalid(
                f"a token with {', '.join(sorted(granter.scopes))} cannot make one with {scope}"
            )


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


def is_unnoted(session: Session, token: ApiToken) -> bool:
    """Return whether the last use that is noted of a token is an hour old, or none is."""
    last = token.last_used_at
    return last is None or last <= now(session) - login_sessions.SEEN_EVERY


def note_use(session: Session, token_id: int) -> None:
    """Note that a token is being used."""
    session.execute(
        update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now(session))
    )


def tokens(session: Session, user_id: int) -> list[ApiToken]:
    """Return a user's tokens, newest first."""
    query = select(ApiToken).where(ApiToken.user_id == user_id).order_by(ApiToken.id.desc())
    return list(session.scalars(query))


def revoke_token(
    session: Session, user: User, token_id: int, *, granter: Granter | None = None
) -> None:
    """Revoke one of the user's own tokens (an administrator: anyone's)."""
    row = session.get(ApiToken, token_id)
    may_revoke_any = user.is_admin and "admin" in (granter or Granter()).scopes
    if row is None or (row.user_id != user.id and not may_revoke_any):
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


def users(session: Session) -> list[User]:
    """Return all accounts, people before simulated labelers."""
    query = select(User).order_by(User.is_simulated, User.name, User.id)
    return list(session.scalars(query))


def page(
    session: Session,
    *,
    search: str = "",
    order: ListOrder = BY_NAME,
    limit: int = 200,
) -> ListedUsers:
    """Return a page of the accounts whose name or e-mail contains the search, by name.

    Raises:
        Invalid: accounts cannot be sorted by the column.
    """
    query = select(User)
    if search:
        pattern = f"%{search.lower()}%"
        query = query.where(or_(func.lower(User.name).like(pattern), User.email.like(pattern)))
    found = keyset.page(session, query, User.id, SORTABLE, order, limit=limit)
    return ListedUsers([user for (user,) in found.rows], found.next)


def closed(session: Session, user_id: int) -> User:
    """Return a user whose account is closed.

    Raises:
        NotFound: there is no such user.
        Conflict: the account is open.
    """
    user = session.get(User, user_id)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    if user.is_active:
        raise Conflict(f"the account of {user.name} is open; close it before erasing it")
    return user


def set_active(session: Session, user_id: int, *, is_active: bool, actor: User) -> User:
    """Close or reopen an account; closing ends its browser sessions."""
    user = session.get(User, user_id)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    if user.id == actor.id and not is_active:
        raise Invalid("you cannot close your own account; ask another administrator")
    user.is_active = is_active
    if not is_active:
        login_sessions.end_all(session, user.id)  # tokens are refused while the account is closed
    audit.record(
        session,
        "user.open" if is_active else "user.close",
        f"user {user.id}",
        actor_id=actor.id,
    )
    return user

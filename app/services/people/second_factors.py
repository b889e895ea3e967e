"""Two-factor authentication: an authenticator app (TOTP, RFC 6238) and ten recovery codes.

Codes have six digits and change every 30 seconds. A code is taken one step before and after its
time, for clocks that differ, and only if it is newer than the last one used: each works once, also
for several requests at once, because the row is locked. The app's secret is encrypted with a key
derived from the application's, and recovery codes are stored as hashes.
"""

import base64
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pyotp
from pyotp.exceptions import OTPVerificationError
from sqlalchemy import Exists, delete, exists, func, select, update
from sqlalchemy.orm import Session

from app.db import now
from app.errors import Conflict, Invalid, NotFound
from app.models import Membership, RecoveryCode, Role, SecondFactor, User
from app.services.people import accounts, audit, guesses, login_sessions, sealed_texts
from app.services.people.credentials import digest
from app.services.people.guesses import Guessed

RECOVERY_CODES: Final = 10
ENROLMENT: Final = timedelta(minutes=30)
"""How long the secret of an enrolment is shown until it must begin anew."""
_STEPS_ASTRAY: Final = 1  # how many steps of 30 s a clock may be wrong
_RECOVERY_BYTES: Final = 10  # 80 bits, too many to guess, so that a fast hash is enough
_TOTP: Final = re.compile(r"[0-9]{6}")
_WRONG: Final = "the code is wrong or was used already; wait for the next one"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app needs: the secret to type, and the URI in the QR code."""

    secret: str
    uri: str


@dataclass(frozen=True, slots=True)
class TwoFactorState:
    """Since when it is on for a user, if it is, and how many recovery codes are left."""

    since: datetime | None
    recovery_codes: int

    @property
    def is_on(self) -> bool:
        """Whether signing in asks for a code."""
        return self.since is not None


def is_on(session: Session, user_id: int) -> bool:
    """Return whether signing in asks a user for a code."""
    return bool(session.scalar(select(_is_on(user_id))))


def is_due(session: Session, user: User) -> bool:
    """Return whether a user is a lead or an administrator without two-factor authentication."""
    leads = exists().where(Membership.user_id == user.id, Membership.role == Role.LEAD)
    has_it, is_lead = session.execute(select(_is_on(user.id), leads)).one()
    return not has_it and (user.is_admin or is_lead)


def users_with(session: Session) -> frozenset[int]:
    """Return the ids of the users for whom it is on."""
    query = select(SecondFactor.user_id).where(SecondFactor.confirmed_at.is_not(None))
    return frozenset(session.scalars(query))


def standing(session: Session, user_id: int) -> TwoFactorState:
    """Return what the account page shows."""
    since = session.scalar(select(SecondFactor.confirmed_at).where(SecondFactor.user_id == user_id))
    left = session.scalar(
        select(func.count())
        .select_from(RecoveryCode)
        .where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    )
    return TwoFactorState(since, left or 0)


def begin(session: Session, user: User, key: bytes) -> None:
    """Begin an enrolment with a new secret; nothing is asked for until it is confirmed.

    Raises:
        Conflict: it is on already.
    """
    row = _locked(session, user.id)
    if row is not None and row.confirmed_at is not None:
        raise Conflict("two-factor authentication is on already; turn it off to change the app")
    if row is None:
        row = SecondFactor(user_id=user.id)
        session.add(row)
    row.sealed_secret = sealed_texts.seal(key, _purpose(user.id), pyotp.random_base32())
    row.created_at = now(session)
    row.last_step = 0
    session.flush()


def enrolment(session: Session, user: User, key: bytes) -> Enrolment | None:
    """Return the enrolment that waits for its first code; None if there is none, or it is old."""
    row = session.scalar(select(SecondFactor).where(SecondFactor.user_id == user.id))
    if row is None or row.confirmed_at is not None:
        return None
    secret = sealed_texts.unseal(key, _purpose(user.id), row.sealed_secret)
    if secret is None or row.created_at <= now(session) - ENROLMENT:
        return None
    uri = pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name="Attune")
    return Enrolment(secret, uri)


def confirm(
    session: Session, user: User, key: bytes, *, password: str, code: str, address: str
) -> list[str]:
    """Turn two-factor authentication on with a first code; return the recovery codes.

    All browser sessions of the user end; API tokens stay.

    Raises:
        Invalid: no enrolment waits, or the password or the code is wrong.
        TooMany: too many recent guesses were wrong.
    """
    if enrolment(session, user, key) is None:
        raise Invalid("this enrolment has expired or was confirmed already; begin again")
    _check_password(session, user, password, address)
    _check_code(session, user, key, code, address)
    row = _locked(session, user.id)
    assert row is not None  # it has just been checked against the code
    row.confirmed_at = now(session)
    login_sessions.end_all(session, user.id)
    audit.record(session, "two_factor.on", f"user {user.id}", actor_id=user.id)
    return _new_recovery_codes(session, user.id)


def use_code(session: Session, user: User, key: bytes, code: str, address: str) -> bool:
    """Use up a code of the app, or a recovery code; False if it is wrong or was used.

    Raises:
        Invalid: the app's secret cannot be decrypted.
        TooMany: too many recent guesses were wrong.
    """
    guesses.admit(session, user.email, address, Guessed.CODE)
    plain = re.sub(r"[\s-]", "", code)
    is_right = (
        _use_step(session, user, key, plain)
        if _TOTP.fullmatch(plain)
        else _use_recovery_code(session, user, plain)
    )
    if is_right:
        guesses.forget(session, user.email, Guessed.CODE)
    else:
        guesses.count_failure(session, user.email, address, Guessed.CODE)
    return is_right


def renew_recovery_codes(
    session: Session, user: User, key: bytes, *, code: str, address: str
) -> list[str]:
    """Replace all recovery codes by new ones, for a code.

    Raises:
        Invalid: it is off, or the code is wrong.
        TooMany: too many recent guesses were wrong.
    """
    _require_on(session, user)
    _check_code(session, user, key, code, address)
    audit.record(session, "two_factor.recovery_codes", f"user {user.id}", actor_id=user.id)
    return _new_recovery_codes(session, user.id)


def remove(
    session: Session, user: User, key: bytes, *, password: str, code: str, address: str
) -> None:
    """Turn two-factor authentication off, for the password and a code.

    Raises:
        Invalid: it is off, or the password or the code is wrong.
        TooMany: too many recent guesses were wrong.
    """
    _require_on(session, user)
    _check_password(session, user, password, address)
    _check_code(session, user, key, code, address)
    _delete(session, user.id)
    audit.record(session, "two_factor.off", f"user {user.id}", actor_id=user.id)


def reset(session: Session, user_id: int, *, actor: User | None) -> User:
    """Turn it off for someone who lost app and codes, and end their browser sessions.

    The actor is an administrator; None is the command line.

    Raises:
        Invalid: it is off, or the administrator's own.
        NotFound: there is no such user.
    """
    user = session.get(User, user_id)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    if actor is not None and actor.id == user.id:
        raise Invalid("turn off your own two-factor authentication on the account page")
    _require_on(session, user)
    _delete(session, user.id)
    login_sessions.end_all(session, user.id)
    audit.record(
        session, "two_factor.reset", f"user {user.id}", actor_id=actor.id if actor else None
    )
    return user


def unreadable(session: Session, key: bytes) -> int:
    """Return how many users' secrets the key does not decrypt."""
    rows = session.execute(
        select(SecondFactor.user_id, SecondFactor.sealed_secret).where(
            SecondFactor.confirmed_at.is_not(None)
        )
    )
    return sum(sealed_texts.unseal(key, _purpose(one), sealed) is None for one, sealed in rows)


def _check_password(session: Session, user: User, password: str, address: str) -> None:
    """Refuse a wrong password; whoever signs in elsewhere has none and is not asked."""
    if user.password_hash is None:
        return
    guesses.admit(session, user.email, address)
    if not accounts.check_password(user.password_hash, password):
        guesses.count_failure(session, user.email, address)
        raise Invalid("the password is wrong")


def _check_code(session: Session, user: User, key: bytes, code: str, address: str) -> None:
    if not use_code(session, user, key, code, address):
        raise Invalid(_WRONG)


def _require_on(session: Session, user: User) -> None:
    if not is_on(session, user.id):
        raise Invalid(f"two-factor authentication is not on for {user.email}")


def _use_step(session: Session, user: User, key: bytes, code: str) -> bool:
    row = _locked(session, user.id)
    if row is None:
        return False
    secret = sealed_texts.unseal(key, _purpose(user.id), row.sealed_secret)
    if secret is None:
        raise Invalid(
            "the codes of this account cannot be checked, because the server's secret has changed: "
            "use a recovery code, or ask an administrator to reset two-factor authentication"
        )
    try:
        step = pyotp.TOTP(secret).verify_and_get_timecode(
            code, for_time=now(session), valid_window=_STEPS_ASTRAY
        )
    except OTPVerificationError:
        return False
    if step <= row.last_step:
        return False
    row.last_step = step
    session.flush()
    return True


def _use_recovery_code(session: Session, user: User, code: str) -> bool:
    used = session.execute(
        update(RecoveryCode)
        .where(
            RecoveryCode.user_id == user.id,
            RecoveryCode.code_hash == _recovery_hash(user.id, code),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now(session))
        .returning(RecoveryCode.id)
    ).all()
    if used:
        audit.record(session, "two_factor.recovery_code", f"user {user.id}", actor_id=user.id)
    return bool(used)


def _new_recovery_codes(session: Session, user_id: int) -> list[str]:
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    moment = now(session)
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    session.add_all(
        RecoveryCode(
            user_id=user_id,
            code_hash=_recovery_hash(user_id, code.replace("-", "")),
            created_at=moment,
        )
        for code in codes
    )
    session.flush()
    return codes


def _recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def _recovery_hash(user_id: int, code: str) -> str:
    return digest(f"recovery code of user {user_id}: {code.lower()}")


def _delete(session: Session, user_id: int) -> None:
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    session.execute(delete(SecondFactor).where(SecondFactor.user_id == user_id))


def _locked(session: Session, user_id: int) -> SecondFactor | None:
    """Return the row, locked and read again: another request may have used the code meanwhile."""
    query = select(SecondFactor).where(SecondFactor.user_id == user_id).with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def _is_on(user_id: int) -> Exists:
    return exists().where(SecondFactor.user_id == user_id, SecondFactor.confirmed_at.is_not(None))


def _purpose(user_id: int) -> str:
    return f"second factor of user {user_id}"

"""Limits how often passwords and codes can be guessed, by account and by address.

Guesses at one account, or from one address, are judged one after another: forty at once would
otherwise all be counted before the first of them has failed. On SQLite they are anyway, since there
is a single writer.

Wrong codes are counted apart from wrong passwords: a right password must not give whoever stole it
ten more guesses at the code.
"""

import hashlib
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db import now
from app.errors import TooMany
from app.models import SignInFailure

WINDOW = timedelta(minutes=15)
FAILURES_PER_ACCOUNT = 10
FAILURES_PER_ADDRESS = 50


class Guessed(StrEnum):
    """What is guessed at; each is counted by itself for an account."""

    PASSWORD = "account"
    CODE = "code"


def admit(session: Session, email: str, address: str, guessed: Guessed = Guessed.PASSWORD) -> None:
    """Let a guess be judged, and later ones wait until this transaction ends.

    Raises:
        TooMany: too many recent guesses at the account, or from the address, were wrong.
    """
    moment = now(session)
    keys = _keys(email, address, guessed)
    if session.get_bind().dialect.name == "postgresql":
        for key in keys:  # the account first, always, which prevents deadlocks
            session.execute(select(func.pg_advisory_xact_lock(_lock_number(key))))
    session.execute(delete(SignInFailure).where(SignInFailure.at < moment - WINDOW))
    for key, limit in zip(keys, (FAILURES_PER_ACCOUNT, FAILURES_PER_ADDRESS), strict=True):
        failures = session.scalar(
            select(func.count()).select_from(SignInFailure).where(SignInFailure.key_hash == key)
        )
        if (failures or 0) >= limit:
            minutes = int(WINDOW.total_seconds()) // 60
            raise TooMany(
                f"too many wrong {guessed.name.lower()}s; try again in {minutes} minutes",
                int(WINDOW.total_seconds()),
            )


def count_failure(
    session: Session, email: str, address: str, guessed: Guessed = Guessed.PASSWORD
) -> None:
    """Count a wrong guess against the account and the address."""
    moment = now(session)
    keys = _keys(email, address, guessed)
    session.add_all(SignInFailure(key_hash=key, at=moment) for key in keys)


def forget(session: Session, email: str, guessed: Guessed = Guessed.PASSWORD) -> None:
    """Forget the wrong guesses at an account whose password, or code, was given."""
    key = _keys(email, "", guessed)[0]
    session.execute(delete(SignInFailure).where(SignInFailure.key_hash == key))


def _keys(email: str, address: str, guessed: Guessed) -> tuple[str, str]:
    texts = (f"{guessed}:{email.strip().lower()}", f"address:{address}")
    account, of_address = (hashlib.sha256(text.encode()).hexdigest() for text in texts)
    return account, of_address


def _lock_number(key: str) -> int:
    return int.from_bytes(bytes.fromhex(key[:16]), "big", signed=True)

"""Invitations used eight times, and forty-five guesses, at once."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pyotp
import pytest
from sqlalchemy import func, select

from app.db import Database, now
from app.errors import Conflict, Invalid, NotFound, TooMany
from app.models import Invitation, LoginSession, PendingSignIn, RecoveryCode, Role, User
from app.services.people import (
    accounts,
    guesses,
    invitations,
    pending_sign_ins,
    second_factors,
    sign_ins,
)

pytestmark = pytest.mark.services


@pytest.fixture
def shared(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, pool_size=50)
    yield database
    database.dispose()


def at_once(count: int, act: Callable[[int], str]) -> list[str]:
    barrier = Barrier(count)

    def start(number: int) -> str:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def test_an_invitation_is_used_once_by_eight_at_once(
    shared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "hash_password", lambda _password: "x")
    with shared.transaction() as session:
        root = accounts.create_user(session, email="r@example.org", name="Root", password=None)
        secret = invitations.invite(
            session, project_id=None, role=Role.LABELER, email=None, actor_id=root.id
        ).secret
    read = Barrier(8)

    def accept(number: int) -> str:
        try:
            with shared.transaction() as session:
                shown = invitations.get(session, secret)  # as the page does, which keeps it
                read.wait()
                invitations.accept(
                    session,
                    secret,
                    user=None,
                    name="New",
                    email=f"n{number}@example.org",
                    password="x" * 12,
                )
                assert shown.used_by_id is not None
        except NotFound as error:
            return str(error)
        return "accepted"

    said = at_once(8, accept)
    assert said.count("accepted") == 1
    assert sum("was used already" in words for words in said) == 7
    with shared.reader() as session:
        assert session.scalar(select(func.count()).select_from(User)) == 2
        used_by = session.scalars(select(Invitation.used_by_id)).one()
        assert session.get_one(User, used_by).email == f"n{said.index('accepted')}@example.org"


def test_an_invitation_is_either_used_or_revoked(
    shared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "hash_password", lambda _password: "x")
    with shared.transaction() as session:
        root = accounts.create_user(session, email="r@example.org", name="Root", password=None)
        made = invitations.invite(
            session, project_id=None, role=Role.LABELER, email=None, actor_id=root.id
        )
    with shared.transaction() as revoking:
        before = revoking.get(Invitation, made.id)  # read before it is used
        with shared.transaction() as session:
            invitations.accept(
                session, made.secret, user=None, name="N", email="n@example.org", password="x" * 12
            )
        with pytest.raises(NotFound):
            invitations.revoke(revoking, made.id, actor_id=root.id)
        assert before is not None


@pytest.mark.parametrize("way", ["sign_in", "password"])
def test_forty_five_guesses_at_once_are_ten(
    shared: Database, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    judged = []

    def check(_stored: str | None, password: str) -> bool:
        judged.append(password)
        time.sleep(0.01)
        return False

    monkeypatch.setattr(accounts, "check_password", check)
    with shared.transaction() as session:
        accounts.create_user(session, email="a@example.org", name="Ada", password=None)

    def guess(number: int) -> str:
        address = f"10.0.0.{number}"
        try:
            with shared.transaction() as session:
                if way == "sign_in":
                    sign_ins.with_password(
                        session, email="A@example.org", password="no", address=address
                    )
                    return "wrong"
                user = session.scalars(select(User)).one()
                try:
                    accounts.change_password(session, user, old="no", new="x" * 12, address=address)
                except Invalid:  # as the page does
                    return "wrong"
        except TooMany:
            return "refused"
        except Conflict:
            return "conflict"
        return "changed"

    said = at_once(45, guess)
    most = guesses.FAILURES_PER_ACCOUNT
    assert (said.count("wrong"), said.count("refused"), len(judged)) == (most, 45 - most, most)


KEY = b"s" * 40


def _with_second_factor(shared: Database) -> tuple[pyotp.TOTP, list[str]]:
    """Turn two-factor authentication on; return the app and the recovery codes."""
    with shared.transaction() as session:
        user = accounts.create_user(session, email="a@example.org", name="Ada", password=None)
        second_factors.begin(session, user, KEY)
        begun = second_factors.enrolment(session, user, KEY)
        assert begun is not None
        app = pyotp.TOTP(begun.secret)
        code = app.at(now(session) - timedelta(seconds=30))
        codes = second_factors.confirm(session, user, KEY, password="", code=code, address="")
    return app, codes


@pytest.mark.parametrize("kind", ["app", "recovery"])
def test_a_code_is_used_once_by_eight_at_once(
    shared: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Each from a sign-in of its own, and without the lock that orders guesses."""
    app, recovery = _with_second_factor(shared)
    monkeypatch.setattr(guesses, "admit", lambda *_given: None)
    with shared.transaction() as session:
        user = session.scalars(select(User)).one()
        waiting = [pending_sign_ins.begin(session, user.id).secret for _ in range(8)]
        code = app.at(now(session)) if kind == "app" else recovery[0]
    read = Barrier(8)

    def enter(number: int) -> str:
        with shared.transaction() as session:
            pending = pending_sign_ins.find(session, waiting[number])
            assert pending is not None
            assert second_factors.is_on(session, pending.user_id)
            read.wait()
            entry = sign_ins.with_code(session, pending, KEY, code=code, address=f"10.0.0.{number}")
        return "in" if entry else "refused"

    said = at_once(8, enter)
    assert (said.count("in"), said.count("refused")) == (1, 7)
    with shared.reader() as session:
        assert len(session.scalars(select(LoginSession)).all()) == 1
        assert len(session.scalars(select(PendingSignIn)).all()) == 7


def test_a_sign_in_that_waits_ends_once_for_eight_codes_at_once(shared: Database) -> None:
    _, recovery = _with_second_factor(shared)
    with shared.transaction() as session:
        user = session.scalars(select(User)).one()
        waiting = pending_sign_ins.begin(session, user.id).secret
    read = Barrier(8)

    def enter(number: int) -> str:
        with shared.transaction() as session:
            pending = pending_sign_ins.find(session, waiting)
            assert pending is not None
            read.wait()
            entry = sign_ins.with_code(session, pending, KEY, code=recovery[number], address="")
        return "in" if entry else "refused"

    assert at_once(8, enter).count("in") == 1
    with shared.reader() as session:
        assert len(session.scalars(select(LoginSession)).all()) == 1
        used = select(func.count()).where(RecoveryCode.used_at.is_not(None))
        assert session.scalar(used) == 8

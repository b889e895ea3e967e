"""People whom a single sign-on provider knows: finding, connecting and creating their accounts.

An account is found by the provider's own id of the person. At their first sign-in it is found by
their verified e-mail address, but an address alone gives nobody an account that has a password:
they give the password once, which proves that both are theirs.
"""

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session, joinedload

from app.db import now
from app.domain.single_sign_on import ProvedIdentity, SingleSignOn
from app.errors import Forbidden, NotFound
from app.models import LinkedIdentity, User
from app.services.people import (
    accounts,
    audit,
    guesses,
    invitations,
    login_sessions,
    second_factors,
    sign_ins,
)
from app.services.people.sign_ins import Entry


def sign_in(
    session: Session,
    identity: ProvedIdentity,
    setup: SingleSignOn,
    *,
    invitation: str = "",
    user_agent: str = "",
) -> Entry | None:
    """Let in a person whom the provider knows; None if their account's password is needed first.

    `invitation` is the secret of a link that led here.

    Raises:
        Forbidden: the operator does not let them in, there is no account and no invitation, or the
            account is closed or cannot be connected.
    """
    setup.check(identity)
    user = _known(session, identity)
    if user is None:
        user = accounts.user_by_email(session, identity.email)
        if user is None:
            user = _new(session, identity, setup, invitation)
        elif user.is_active and user.password_hash is not None:
            return None
        else:
            _check_connectable(session, user, identity)
        _connect(session, user, identity)
    if not user.is_active:
        raise Forbidden(f"the account of {user.email} is closed: ask an administrator to reopen it")
    return sign_ins.enter(session, user, user_agent=user_agent)


def sign_in_with_password(
    session: Session,
    identity: ProvedIdentity,
    setup: SingleSignOn,
    *,
    password: str,
    address: str,
    user_agent: str = "",
) -> Entry | None:
    """Connect a person with the account of their address, for its password; None if it is wrong.

    Raises:
        Forbidden: the operator does not let them in, or there is no such account any more.
        TooMany: too many recent guesses at the password were wrong.
    """
    setup.check(identity)
    guesses.admit(session, identity.email, address)
    user = accounts.user_by_email(session, identity.email)
    stored = user.password_hash if user is not None and user.is_active else None
    if not accounts.check_password(stored, password) or user is None:
        guesses.count_failure(session, identity.email, address)
        return None
    guesses.forget(session, identity.email)
    if _known(session, identity) is None:  # it is not, unless another request was faster
        _connect(session, user, identity)
    return sign_ins.enter(session, user, user_agent=user_agent)


def of_user(session: Session, user_id: int) -> list[LinkedIdentity]:
    """Return the providers that an account is connected with, the oldest first."""
    query = select(LinkedIdentity).where(LinkedIdentity.user_id == user_id)
    return list(session.scalars(query.order_by(LinkedIdentity.id)))


def disconnect(session: Session, user: User, *, actor_id: int | None) -> None:
    """Disconnect an account from all providers, and end its browser sessions.

    Raises:
        NotFound: it is connected with none.
    """
    query = delete(LinkedIdentity).where(LinkedIdentity.user_id == user.id)
    if not session.execute(query.returning(LinkedIdentity.id)).all():
        raise NotFound(f"the account of {user.email} is not connected with a provider")
    login_sessions.end_all(session, user.id)
    audit.record(session, "identity.disconnect", f"user {user.id}", actor_id=actor_id)


def _known(session: Session, identity: ProvedIdentity) -> User | None:
    row = session.scalar(
        select(LinkedIdentity)
        .where(LinkedIdentity.issuer == identity.issuer, LinkedIdentity.subject == identity.subject)
        .options(joinedload(LinkedIdentity.user))
    )
    return row.user if row is not None else None


def _check_connectable(session: Session, user: User, identity: ProvedIdentity) -> None:
    """Refuse to connect an account by its address alone where it guards more than labels."""
    if not user.is_active:
        return  # refused as closed
    is_other = session.scalar(select(exists().where(LinkedIdentity.user_id == user.id)))
    if is_other:
        raise Forbidden(
            f"the account of {user.email} is connected with another person of the provider, who "
            "had the same address: an administrator can disconnect it"
        )
    if user.is_admin or user.is_simulated or second_factors.is_on(session, user.id):
        raise Forbidden(
            f"the account of {user.email} has no password that could show it is yours: the "
            "operator can set one with attune user password"
        )


def _new(session: Session, identity: ProvedIdentity, setup: SingleSignOn, invitation: str) -> User:
    """Create an account for whoever was invited, or for anybody if the operator says so."""
    invited = invitations.usable_by(session, identity.email, invitation)
    if not invited and not setup.creates_accounts:
        raise Forbidden(
            f"there is no account and no open invitation for {identity.email}: ask the lead of "
            "your project for an invitation"
        )
    user = accounts.create_user(session, email=identity.email, name=identity.name, password=None)
    for row in invited:
        invitations.use(session, row, user)
    return user


def _connect(session: Session, user: User, identity: ProvedIdentity) -> None:
    session.add(
        LinkedIdentity(
            user_id=user.id,
            issuer=identity.issuer,
            subject=identity.subject,
            created_at=now(session),
        )
    )
    session.flush()
    audit.record(
        session,
        "identity.connect",
        f"user {user.id}",
        actor_id=user.id,
        details={"issuer": identity.issuer},
    )

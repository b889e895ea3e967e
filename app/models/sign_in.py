"""What signing in needs beside a password: second factors, waiting sign-ins, other identities."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base, Identified
from app.models.accounts import User


class SecondFactor(Identified, Base):
    """A user's authenticator app: its secret, encrypted, and the newest code that was used.

    Codes are asked for once it is confirmed by a first one.
    """

    __tablename__ = "second_factor"

    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), unique=True)
    sealed_secret: Mapped[str]
    last_step: Mapped[int] = mapped_column(BigInteger, default=0)  # 30 s steps since 1970
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]


class RecoveryCode(Identified, Base):
    """A code that replaces the authenticator app once, stored as a hash."""

    __tablename__ = "recovery_code"

    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    code_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class PendingSignIn(Identified, Base):
    """A browser whose user gave the password and must still give a code; no session yet."""

    __tablename__ = "pending_sign_in"

    id_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    user: Mapped[User] = relationship(lazy="raise")


class LinkedIdentity(Identified, Base):
    """A person of a single sign-on provider, by the provider's own id, and their account."""

    __tablename__ = "linked_identity"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    issuer: Mapped[str]
    subject: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]

    user: Mapped[User] = relationship(lazy="raise")

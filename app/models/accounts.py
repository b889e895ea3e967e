"""Users, memberships, sessions, tokens and invitations."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base, Identified, Key


class Role(StrEnum):
    """A member's role in a project; each role includes the ones before it."""

    LABELER = "labeler"
    LEAD = "lead"


class User(Identified, Base):
    """A person or a simulated labeler who can sign in."""

    __tablename__ = "user"

    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    password_hash: Mapped[str | None]
    is_admin: Mapped[bool] = mapped_column(default=False)
    is_active: Mapped[bool] = mapped_column(default=True)
    is_simulated: Mapped[bool] = mapped_column(default=False)
    single_keys: Mapped[bool] = mapped_column(default=True)  # can be turned off (WCAG 2.1.4)
    created_at: Mapped[datetime]


class Membership(Identified, Base):
    """A user's role in a project, with the pseudonym used in exports and heat maps."""

    __tablename__ = "membership"
    __table_args__ = (
        UniqueConstraint("project_id", "user_id"),
        UniqueConstraint("project_id", "pseudonym"),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    role: Mapped[Role] = mapped_column(String(20))
    pseudonym: Mapped[str] = mapped_column(String(20))  # L1, L2 …
    is_paused: Mapped[bool] = mapped_column(default=False)
    guidelines_read_version: Mapped[int] = mapped_column(default=0)
    guide_dismissed_at: Mapped[datetime | None]  # the guide at the first comparison
    practice_run: Mapped[int] = mapped_column(default=1, server_default="1")
    practice_passed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    user: Mapped[User] = relationship(lazy="raise")


class LoginSession(Identified, Base):
    """A signed-in browser; the random id is stored as a hash."""

    __tablename__ = "login_session"

    id_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    user_agent: Mapped[str] = mapped_column(String(200), default="")

    user: Mapped[User] = relationship(lazy="raise")


class ApiToken(Identified, Base):
    """A credential for scripts: stored as a hash, scoped, expiring, shown once.

    Those of services stay when their owner's password changes.
    """

    __tablename__ = "api_token"

    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    name: Mapped[str] = mapped_column(String(120))
    prefix: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    is_service: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="raise")


class Invitation(Identified, Base):
    """A single-use link that creates an account, a membership, or both."""

    __tablename__ = "invitation"

    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id"), index=True)
    role: Mapped[Role] = mapped_column(String(20))
    email: Mapped[str | None] = mapped_column(String(254))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_by_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))


class SignInFailure(Identified, Base):
    """A failed sign-in, kept for the window of the rate limit."""

    __tablename__ = "sign_in_failure"

    key_hash: Mapped[str] = mapped_column(String(64), index=True)  # of the account or IP address
    at: Mapped[datetime]

"""Authenticates a queue request in one query: credential, user, project and membership.

On PostgreSQL every statement costs a round trip, and the labeling page makes two requests for each
judgment. The membership comes locked, as `slot_leases.enter` would lock it. If this query finds no
member, ordinary authentication follows and reports the reason.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, exists, func, null, select
from sqlalchemy.orm import Load, Session

from app.db.engine import set_clock
from app.models import ApiToken, LoginSession, Membership, Project, User
from app.services.people import accounts, login_sessions
from app.services.queue import eligibility, slot_leases


@dataclass(frozen=True, slots=True)
class Seat:
    """An authenticated member at a project's queue, and the scopes of the credential."""

    user: User
    project: Project
    member: Membership
    scopes: frozenset[str]


def by_token(session: Session, secret: str, slug: str) -> Seat | None:
    """Authenticate an API token; return None to fall back to ordinary authentication."""
    return _seat(session, _BY_TOKEN, secret, slug, accounts.note_use)


def by_cookie(session: Session, secret: str, slug: str) -> Seat | None:
    """Authenticate a login session; return None to fall back to ordinary authentication."""
    return _seat(session, _BY_COOKIE, secret, slug, login_sessions.note_use)


def _seat(
    session: Session,
    statement: Select[Any],
    secret: str,
    slug: str,
    note: Callable[[Session, int], None],
) -> Seat | None:
    if session.get_bind().dialect.name != "postgresql" or "clock" in session.info:
        return None
    hashed = hashlib.sha256(secret.encode()).hexdigest()
    row = session.execute(statement, {"hashed": hashed, "slug": slug}).first()
    if row is None:
        return None
    moment: datetime = set_clock(session, row.moment)
    if row.expires_at is not None and row.expires_at <= moment:
        return None
    slot_leases.note_entered(
        session,
        row.Membership,
        is_overdue=row.is_overdue,
        has_leases=row.has_leases,
    )
    if row.used_at is None or row.used_at <= moment - login_sessions.SEEN_EVERY:
        note(session, row.credential_id)
    scopes = accounts.SCOPES if row.scopes is None else row.scopes
    return Seat(row.User, row.Project, row.Membership, frozenset(scopes))


def _statement(credential: type[ApiToken] | type[LoginSession], *columns: Any) -> Select[Any]:
    return (
        select(
            User,
            Project,
            Membership,
            credential.expires_at,
            credential.id.label("credential_id"),
            *columns,
            func.clock_timestamp().label("moment"),
            exists().where(slot_leases.is_stale(Project.id, func.now())).label("is_overdue"),
            exists().where(eligibility.is_live(Project.id, User.id)).label("has_leases"),
            # The queue's statements never profit from plans for particular values.
            func.set_config("plan_cache_mode", "force_generic_plan", True),
        )
        .select_from(credential)
        .join(User, User.id == credential.user_id)
        .join(Project, Project.slug == bindparam("slug"))
        .join(
            Membership,
            (Membership.user_id == User.id) & (Membership.project_id == Project.id),
        )
        .where(User.is_active)
        .options(
            Load(User).load_only(User.id, User.is_admin, User.is_active),
            Load(Project).load_only(
                *(Project.slug, Project.judgment_kind, Project.k, Project.overlap),
                *(Project.is_paused, Project.gold_rate, Project.repeat_rate),
                *(Project.evaluation_rate, Project.practice_pass_share),
                *(Project.instruction, Project.instruction_version),
                *(Project.strength_steps, Project.allow_tie, Project.allow_both_bad),
                *(Project.rating_max, Project.median_active_ms, Project.automatic_look_from_id),
            ),
        )
        .with_for_update(key_share=True, of=Membership)
        .execution_options(populate_existing=True)
    )


_BY_TOKEN = _statement(ApiToken, ApiToken.scopes, ApiToken.last_used_at.label("used_at")).where(
    ApiToken.token_hash == bindparam("hashed"), ApiToken.revoked_at.is_(None)
)
_BY_COOKIE = _statement(
    LoginSession, null().label("scopes"), LoginSession.last_seen_at.label("used_at")
).where(LoginSession.id_hash == bindparam("hashed"))

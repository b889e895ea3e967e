"""Labelers of imported files: accounts that nobody can sign in to, and members for their pseudonym.

A file may name thousands, so they are added many at once, with one event in the audit log.
"""

import hashlib
from collections.abc import Iterable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import bulk, now
from app.models import Membership, Project, Role, User
from app.services.people import audit

DOMAIN = "imported.invalid"
NAMELESS = "Imported votes"

_USER = (
    *("id", "email", "name", "is_admin", "is_active", "is_simulated", "single_keys"),
    "created_at",
)
_MEMBERSHIP = (
    *("id", "project_id", "user_id", "role", "pseudonym", "is_paused"),
    *("guidelines_read_version", "practice_run", "created_at"),
)


def ids(session: Session, project: Project, names: Iterable[str]) -> dict[str, int]:
    """Return the accounts of these labelers, adding those that are missing."""
    by_email = {_email(project, name): name for name in sorted(names)}
    query = select(User.email, User.id).where(bulk.among(session, User.email, by_email))
    known = {by_email[email]: user_id for email, user_id in session.execute(query)}
    missing = [name for name in by_email.values() if name not in known]
    return known | _added(session, project, missing)


def is_imported(user: User) -> bool:
    """Return whether an account represents a labeler of a file."""
    return user.email.endswith(f"@{DOMAIN}")


def _added(session: Session, project: Project, names: Sequence[str]) -> dict[str, int]:
    if not names:
        return {}
    of_project = select(func.count(Membership.id)).where(Membership.project_id == project.id)
    first = 1 + (session.scalar(of_project) or 0)
    user_ids = bulk.reserve_ids(session, User, len(names))
    member_ids = bulk.reserve_ids(session, Membership, len(names))
    moment = now(session)
    users = [
        (user_id, _email(project, name), _shown(name), False, False, False, True, moment)
        for user_id, name in zip(user_ids, names, strict=True)
    ]
    # Paused: the queue must not wait for somebody who cannot sign in.
    members = [
        (member_id, project.id, user_id, Role.LABELER.value, f"L{first + at}", True, 0, 1, moment)
        for at, (member_id, user_id) in enumerate(zip(member_ids, user_ids, strict=True))
    ]
    bulk.insert(session, User, _USER, users)
    bulk.insert(session, Membership, _MEMBERSHIP, members)
    audit.record(
        session,
        "import.labelers",
        f"{len(names)} labelers of a file",
        project_id=project.id,
        details={"first_user": user_ids[0], "last_user": user_ids[-1], "count": len(names)},
    )
    return dict(zip(names, user_ids, strict=True))


def _shown(name: str) -> str:
    # An e-mail address is personal data: the account is known by its hash, and the address dropped.
    if not name:
        return NAMELESS
    return f"Imported {_digest(name)[:6] if '@' in name else name[:60]}".strip()


def _email(project: Project, name: str) -> str:
    return f"import-{project.id}-{_digest(name)[:16]}@{DOMAIN}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()

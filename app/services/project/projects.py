"""Projects and the versions of their guidelines."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import instruction_text
from app.domain.goals import Goal
from app.domain.judgment_kinds import JudgmentKind, check_k
from app.errors import Conflict, Invalid, NotFound
from app.models import Guidelines, Membership, Project, Role, User
from app.services.people import accounts, audit
from app.services.project import criteria, instructions

RATING_MOST = 9  # the digit keys
EDITABLE = frozenset(
    {
        "name",
        "description",
        "goal",
        "instruction",
        "judgment_kind",
        "k",
        "overlap",
        "strength_steps",
        "allow_tie",
        "allow_both_bad",
        "rating_max",
        "gold_rate",
        "repeat_rate",
        "evaluation_rate",
        "practice_pass_share",
        "is_paused",
        "base_model",
        "chat",
    }
)

OPTIONAL = frozenset({"practice_pass_share", "base_model"})
"""The settings that a project may be without."""


@dataclass(frozen=True, slots=True)
class GuidelinesText:
    """What labelers are told, in Markdown."""

    rules: str
    edge_cases: str = ""
    body: str = ""
    summary: str = ""


def create(
    session: Session,
    *,
    name: str,
    owner: User,
    judgment_kind: JudgmentKind = JudgmentKind.PICK,
    k: int = 2,
    overlap: int = 3,
    slug: str | None = None,
    guidelines: GuidelinesText | None = None,
    **options: Any,
) -> Project:
    """Create a project with its first guidelines; its owner becomes its lead."""
    name = name.strip()
    if not name:
        raise Invalid("a project needs a name")
    slug = slug or slug_of(name)
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,59}", slug):
        raise Invalid(
            f"a project's short name is at most 60 characters of a-z, 0-9 and '-', not {slug!r}"
        )
    if session.scalar(select(Project.id).where(Project.slug == slug)):
        raise Conflict(f"a project with the short name {slug!r} already exists")
    project = Project(slug=slug, name=name[:120], settings={}, created_at=now(session))
    task = {"judgment_kind": judgment_kind, "k": k, "overlap": overlap}
    _apply(project, {**task, **options})
    session.add(project)
    session.flush()
    criteria.ensure(session, project)
    instructions.publish(session, project, author_id=owner.id)
    publish_guidelines(session, project, guidelines or GuidelinesText(rules=""), author_id=owner.id)
    accounts.add_member(session, project.id, owner.id, Role.LEAD, actor_id=owner.id)
    audit.record(session, "project.create", slug, actor_id=owner.id, project_id=project.id)
    return project


def edit(
    session: Session, project: Project, changes: Mapping[str, Any], *, actor_id: int | None
) -> None:
    """Change a project's settings; existing comparisons keep their kind and K."""
    before = {name: getattr(project, name) for name in changes if name in EDITABLE}
    _apply(project, changes)
    criteria.ensure(session, project)
    changed = {
        name: [before[name], getattr(project, name)]
        for name in before
        if before[name] != getattr(project, name)
    }
    if changed:
        audit.record(
            session,
            "project.edit",
            project.slug,
            actor_id=actor_id,
            project_id=project.id,
            details=changed,
        )
    instructions.publish(session, project, author_id=actor_id)


def by_slug(session: Session, slug: str) -> Project:
    """Return the project with a short name.

    Raises:
        NotFound: there is none.
    """
    project = session.scalar(select(Project).where(Project.slug == slug))
    if project is None:
        raise NotFound(f"there is no project {slug!r}")
    return project


def get(session: Session, project_id: int) -> Project:
    """Return the project of an id.

    Raises:
        NotFound: there is none.
    """
    project = session.get(Project, project_id)
    if project is None:
        raise NotFound(f"there is no project {project_id}")
    return project


def names(session: Session, project_ids: Collection[int]) -> dict[int, str]:
    """Return the names of projects by id."""
    rows = session.execute(select(Project.id, Project.name).where(Project.id.in_(project_ids)))
    return {row.id: row.name for row in rows}


def free_slug(session: Session, name: str) -> str:
    """Return the slug of a name, with a number where the slug is taken."""
    base = slug_of(name)
    taken = set(session.scalars(select(Project.slug).where(Project.slug.startswith(base))))
    slugs = (base if n == 1 else f"{base}-{n}" for n in range(1, len(taken) + 2))
    return next(slug for slug in slugs if slug not in taken)


def listed(session: Session) -> list[Project]:
    """Return all projects that are not archived, by name."""
    query = select(Project).where(Project.archived_at.is_(None))
    return list(session.scalars(query.order_by(Project.name)))


def of_user(session: Session, user: User) -> list[tuple[Project, Membership | None]]:
    """Return the projects a user may open; an administrator sees all."""
    joined = (Membership.project_id == Project.id) & (Membership.user_id == user.id)
    query = (
        select(Project, Membership)
        .join(Membership, joined, isouter=user.is_admin)
        .where(Project.archived_at.is_(None))
        .order_by(Project.name)
    )
    return [(project, member) for project, member in session.execute(query)]


def publish_guidelines(
    session: Session, project: Project, text: GuidelinesText, *, author_id: int | None
) -> Guidelines:
    """Publish the next version; judgments from now on are recorded under it."""
    latest = session.scalar(
        select(func.max(Guidelines.version)).where(Guidelines.project_id == project.id)
    )
    row = Guidelines(
        project_id=project.id,
        version=(latest or 0) + 1,
        rules=text.rules.strip(),
        edge_cases=text.edge_cases.strip(),
        body=text.body.strip(),
        summary=text.summary.strip()[:300],
        author_id=author_id,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    audit.record(
        session,
        "guidelines.publish",
        f"version {row.version}",
        actor_id=author_id,
        project_id=project.id,
    )
    return row


def guidelines(
    session: Session,
    project_id: int,
    version: int | None = None,
    *,
    until: datetime | None = None,
) -> Guidelines:
    """Return a version of the guidelines; the newest, or the newest at a moment, by default."""
    query = select(Guidelines).where(Guidelines.project_id == project_id)
    if version is not None:
        query = query.where(Guidelines.version == version)
    if until is not None:
        query = query.where(Guidelines.created_at <= until)
    row = session.scalar(query.order_by(Guidelines.version.desc()).limit(1))
    if row is None:
        raise NotFound(f"there is no version {version} of the guidelines")
    return row


def guidelines_version(session: Session, project_id: int) -> int | None:
    """Return the number of the newest version of the guidelines, or None if there is none."""
    return session.scalar(
        select(func.max(Guidelines.version)).where(Guidelines.project_id == project_id)
    )


def mark_guidelines_read(session: Session, member: Membership, version: int) -> None:
    """Record that a member has read a version of the guidelines.

    Raises:
        Invalid: there is no such version.
    """
    newest = guidelines(session, member.project_id).version
    if not 1 <= version <= newest:
        raise Invalid(f"the guidelines have versions 1 to {newest}, not {version}")
    member = session.merge(member)
    member.guidelines_read_version = max(member.guidelines_read_version, version)


def guidelines_history(session: Session, project_id: int) -> list[Guidelines]:
    """Return every version, newest first."""
    query = (
        select(Guidelines)
        .where(Guidelines.project_id == project_id)
        .order_by(Guidelines.version.desc())
    )
    return list(session.scalars(query))


def slug_of(name: str) -> str:
    """Derive a short name from a project's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "project"


def _apply(project: Project, changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        if name not in EDITABLE:
            raise Invalid(f"a project has no setting {name!r}")
        if value is None and name not in OPTIONAL:
            raise Invalid(f"{name} must have a value, not null; leave it out to keep it as it is")
        setattr(project, name, _stored(name, value))
    _check(project)


def _stored(name: str, value: Any) -> Any:
    if name == "goal":
        return _goal(value)
    if name == "base_model":
        return (value or "").strip() or None
    return instruction_text.normalized(value) if name == "instruction" else value


def _goal(value: Any) -> Goal:
    try:
        return Goal(value)
    except ValueError as error:
        known = ", ".join(Goal)
        raise Invalid(f"a project's goal is one of {known}, not {value!r}") from error


def _check(project: Project) -> None:
    check_k(project.judgment_kind, project.k)
    if project.rating_max is not None and not 2 <= project.rating_max <= RATING_MOST:
        raise Invalid(f"the highest rating must be 2 to {RATING_MOST}, not {project.rating_max}")
    if not 1 <= project.overlap <= 99:
        raise Invalid(f"overlap must be 1 to 99 judgments per comparison, not {project.overlap}")
    if project.strength_steps not in {None, 0, 2, 3, 4}:
        raise Invalid(f"strength must have 0 (off), 2, 3 or 4 steps, not {project.strength_steps}")
    for name in ("gold_rate", "repeat_rate", "evaluation_rate"):
        value = getattr(project, name)
        if value is not None and not 0 <= value <= 1:
            raise Invalid(f"{name} must be a share from 0 to 1, not {value}")

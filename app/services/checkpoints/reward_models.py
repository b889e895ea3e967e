"""Reward models of the installation by name, as the plan of a round refers to them."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.reward_parts import CheckpointName
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind, Membership, Project, Role, User


def named(session: Session, project_id: int, name: CheckpointName) -> Checkpoint:
    """Return a reward model by its name, of the project or of the one that the name states.

    Raises:
        Invalid: there is no such model, or it is retired.
    """
    query = (
        select(Checkpoint)
        .join(Project, Project.id == Checkpoint.project_id)
        .where(Checkpoint.kind == CheckpointKind.REWARD, Checkpoint.name == name.name)
    )
    if name.project:
        query = query.where(Project.slug == name.project)
    else:
        query = query.where(Project.id == project_id)
    checkpoint = session.scalar(query)
    where = f"project {name.project!r}" if name.project else "this project"
    if checkpoint is None:
        raise Invalid(f"there is no reward model {name.name!r} in {where}")
    if checkpoint.state != "ready":
        raise Invalid(f"{name.name!r} in {where} is {checkpoint.state}")
    return checkpoint


def readable(session: Session, project_id: int, user_id: int | None) -> list[str]:
    """Return the names of the reward models that a person may use in a project's rounds.

    Those are the project's own and, by `project/name`, those of projects that the person leads.
    """
    query = (
        select(Checkpoint.name, Project.slug, Project.id)
        .join(Project, Project.id == Checkpoint.project_id)
        .where(Checkpoint.kind == CheckpointKind.REWARD, Checkpoint.state == "ready")
        .order_by(Project.id != project_id, Project.slug, Checkpoint.id.desc())
    )
    led = _led_by(session, user_id)
    return [
        name if owner == project_id else f"{slug}/{name}"
        for name, slug, owner in session.execute(query)
        if owner == project_id or led is None or owner in led
    ]


def check_readable(
    session: Session, project_id: int, name: CheckpointName, user_id: int | None
) -> None:
    """Refuse a reward model that does not exist, or of a project that the person does not lead.

    Both are refused in the same words, so that names of other projects cannot be found out.

    Raises:
        Invalid: with the reward models that the person may use.
    """
    full = f"{name.project}/{name.name}" if name.project else name.name
    known = readable(session, project_id, user_id)
    own = session.get_one(Project, project_id).slug
    if full.removeprefix(f"{own}/") not in known:
        listed = ", ".join(known) or "none"
        raise Invalid(f"there is no reward model {full!r} that you may use; you may use {listed}")


def _led_by(session: Session, user_id: int | None) -> set[int] | None:
    """Return the projects that a person leads; None stands for all of them."""
    if user_id is None:
        return None
    user = session.get_one(User, user_id)
    if user.is_admin:
        return None
    query = select(Membership.project_id).where(
        Membership.user_id == user_id, Membership.role == Role.LEAD
    )
    return set(session.scalars(query))

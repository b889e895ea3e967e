"""Choosing a base model: allowed by the operator, checked by a worker, and what the check found.

The check is a job, since only workers can load models. Its result is kept with the base model's
row, under the versions of the worker's libraries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.allowed_models import AllowedModels
from app.domain.checked_model import CheckedModel
from app.domain.plan import STARTER
from app.domain.states import OVER_JOB_STATES, JobState
from app.errors import Conflict
from app.models import Checkpoint, CheckpointKind, Job, Project
from app.services.checkpoints import checkpoints
from app.services.jobs import jobs

KIND: Final = "check"
PRIORITY: Final = 10  # people wait for it, and it takes seconds
ATTEMPTS: Final = 2
CHECK, CHECK_JOB, LIBRARIES = "check", "check_job", "libraries"


class CheckState(StrEnum):
    """What is known of a base model."""

    UNCHECKED = "unchecked"
    CHECKING = "checking"
    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"  # the check itself


@dataclass(frozen=True, slots=True)
class ChosenBase:
    """A base model and what is known of it; `error` is that of a check that failed."""

    checkpoint: Checkpoint
    state: CheckState
    found: CheckedModel | None = None
    job: Job | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """Its path or hub name."""
        return self.checkpoint.uri

    @property
    def refusal(self) -> str:
        """Why it cannot be used, as far as is known; empty if nothing is."""
        return (self.found.refusal or "") if self.found is not None else ""


def choose(
    session: Session, project: Project, allowed: AllowedModels, *, actor_id: int | None
) -> Checkpoint | None:
    """Register the base model that a project names, and have it checked; None for a starter.

    Raises:
        Invalid: the operator does not allow it.
    """
    name = (project.base_model or "").strip()
    if not name or name == STARTER:
        return None
    return add(session, project, name, allowed, actor_id=actor_id)


def add(
    session: Session,
    project: Project,
    name: str,
    allowed: AllowedModels,
    *,
    actor_id: int | None,
) -> Checkpoint:
    """Register a base model and have it checked, unless it is known to be usable.

    Raises:
        Invalid: the name is empty, or the operator does not allow the model.
    """
    allowed.check(name)
    row = checkpoints.register_base(session, project, name)
    if of(session, row).state is not CheckState.READY:
        _enqueue(session, row, actor_id)
    return row


def check_again(session: Session, checkpoint: Checkpoint, *, actor_id: int | None) -> Job:
    """Have a base model checked once more; a check that is under way is returned.

    Raises:
        Conflict: it is a trained model, whose base was checked.
    """
    if checkpoint.kind != CheckpointKind.BASE:
        raise Conflict(f"{checkpoint.name} was trained here; only base models are checked")
    return _enqueue(session, checkpoint, actor_id)


def recheck(session: Session, libraries: Mapping[str, str]) -> int:
    """Check the base models of projects that were not checked with these libraries."""
    query = (
        select(Checkpoint)
        .join(Project, Project.id == Checkpoint.project_id)
        .where(
            Checkpoint.kind == CheckpointKind.BASE,
            Checkpoint.uri == Project.base_model,
            Project.archived_at.is_(None),
        )
        .order_by(Checkpoint.id)
    )
    outdated = [
        row
        for row in session.scalars(query)
        if row.config.get(CHECK, {}).get(LIBRARIES) != dict(libraries)
    ]
    for row in outdated:
        _enqueue(session, row, None)
    return len(outdated)


def record(session: Session, checkpoint_id: int, found: Mapping[str, Any]) -> None:
    """Keep what a check found with the base model, and the ends of its responses."""
    ends = [{"id": int(id), "token": token} for id, token in found.get("ends", {}).items()]
    checked = {**found, "checked_at": now(session).isoformat()}
    checkpoints.describe(
        session, checkpoint_id, {CHECK: checked, **({"ends": ends} if ends else {})}
    )


def of(session: Session, checkpoint: Checkpoint) -> ChosenBase:
    """Return what is known of a base model."""
    config = checkpoint.config or {}
    found = CheckedModel.from_json(config[CHECK]) if CHECK in config else None
    job = session.get(Job, config[CHECK_JOB]) if CHECK_JOB in config else None
    if job is not None and job.state not in OVER_JOB_STATES:
        return ChosenBase(checkpoint, CheckState.CHECKING, found, job)
    if job is not None and job.state != JobState.SUCCEEDED:
        error = (job.error.strip().splitlines() or [str(job.state)])[-1]
        return ChosenBase(checkpoint, CheckState.FAILED, found, job, error)
    if found is None:
        return ChosenBase(checkpoint, CheckState.UNCHECKED)
    state = CheckState.READY if found.refusal is None else CheckState.REFUSED
    return ChosenBase(checkpoint, state, found, job)


def of_project(session: Session, project: Project) -> ChosenBase | None:
    """Return the base model that a project names; None for a starter, or if it names none."""
    if not project.base_model or project.base_model == STARTER:
        return None
    row = checkpoints.base_named(session, project.id, project.base_model)
    return None if row is None else of(session, row)


def in_use(session: Session, project: Project) -> ChosenBase | None:
    """Return the base model that the next round builds on; None if no base is registered."""
    policy = checkpoints.current_policy(session, project)
    if policy is None:
        return None
    root = [policy, *checkpoints.ancestors(session, policy)][-1]
    return of(session, root) if root.kind == CheckpointKind.BASE else None


def _enqueue(session: Session, row: Checkpoint, actor_id: int | None) -> Job:
    checkpoints.lock(session, row)
    live = of(session, row)
    if live.state is CheckState.CHECKING and live.job is not None:
        return live.job
    job = jobs.enqueue(
        session,
        kind=KIND,
        queue="gpu",  # where the model will be loaded: other machines may not have it
        payload={"checkpoint_id": row.id},
        project_id=row.project_id,
        priority=PRIORITY,
        created_by_id=actor_id,
        max_attempts=ATTEMPTS,
    )
    checkpoints.describe(session, row.id, {CHECK_JOB: job.id})
    return job

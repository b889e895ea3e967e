"""What people ask of a job: cancel, retry, stop here. The job's round is advanced with it."""

from collections.abc import Mapping
from typing import Final, Literal, Protocol

from sqlalchemy.orm import Session

from app.domain.states import JobState
from app.errors import NotFound
from app.models import Job
from app.services.jobs import job_leases, jobs
from app.services.rounds import rounds

Action = Literal["cancel", "retry", "stop"]


class _Act(Protocol):
    def __call__(self, session: Session, job_id: int, *, actor_id: int | None) -> Job: ...


_ACTIONS: Final[Mapping[Action, _Act]] = {
    "cancel": jobs.cancel,
    "retry": jobs.retry,
    "stop": jobs.stop_here,
}


def apply(
    session: Session,
    job_id: int,
    action: Action,
    *,
    actor_id: int | None,
    project_id: int | None = None,
) -> Job:
    """Cancel, retry or stop a job; a job of another project is not found.

    Raises:
        NotFound: there is no such job (in the project).
        Conflict: the job's state does not allow it.
    """
    round_id = find(session, job_id, project_id=project_id).round_id
    if round_id is not None:
        job_leases.lock_round(session, round_id)
    job = _ACTIONS[action](session, job_id, actor_id=actor_id)
    if job.round_id is not None and job.state != JobState.RUNNING:
        rounds.advance(session, job.round_id)
    return job


def find(session: Session, job_id: int, *, project_id: int | None = None) -> Job:
    """Return the job, of this project if one is given.

    Raises:
        NotFound: there is no such job (in the project).
    """
    job = jobs.get(session, job_id)
    if project_id is not None and job.project_id != project_id:
        raise NotFound(f"there is no job {job_id}")
    return job

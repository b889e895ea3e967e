"""What people press on a job: cancel, retry, stop here. Audited, and the round hears of it."""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from sqlalchemy.orm import Session

from app.domain.states import JobState
from app.errors import NotFound
from app.models import Job
from app.services.jobs import job_leases, jobs
from app.services.people import audit
from app.services.rounds import rounds

Action = Literal["cancel", "retry", "stop"]

_ACTIONS: Final[Mapping[Action, Callable[[Session, int], Job]]] = {
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
    """Do to the job what was pressed; a job of another project is not found.

    Raises:
        NotFound: there is no such job (in the project).
        Conflict: the job's state does not allow it.
    """
    found = find(session, job_id, project_id=project_id)
    if found.round_id is not None:
        job_leases.lock_round(session, found.round_id)
    job = _ACTIONS[action](session, job_id)
    audit.record(
        session,
        f"job.{action}",
        f"job {job_id}",
        actor_id=actor_id,
        project_id=job.project_id,
        details={"kind": job.kind},
    )
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

"""Jobs as people and the loop see them: enqueued, listed, cancelled, retried, stopped.

The row is the job; a message only wakes a worker. Cancelling, retrying and stopping are audited
here, whoever asks. What a worker may do with a job it has claimed is in `job_leases`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import queue as broker
from app.db import keyset, now
from app.db.engine import after_commit
from app.db.keyset import NEWEST_FIRST, ListOrder
from app.domain.states import JOB_MOVES, JobState, move
from app.errors import Conflict, Invalid, NotFound
from app.models import Job, JobAttempt, Metric, Project, TrainingSample
from app.services.jobs import restored_jobs, shards
from app.services.people import audit

SORTABLE = {"kind": Job.kind, "state": Job.state, "project": func.coalesce(Project.name, "")}
"""The columns that the list can be sorted by. There are few enough jobs to do without indexes."""


@dataclass(frozen=True, slots=True)
class ListedJobs:
    """A page of jobs, and where the next one starts, if there is one."""

    rows: list[Job]
    next: ListOrder | None


def enqueue(
    session: Session,
    *,
    kind: str,
    queue: broker.QueueName,
    payload: dict[str, Any],
    project_id: int | None = None,
    round_id: int | None = None,
    natural_key: str | None = None,
    priority: int = 0,
    created_by_id: int | None = None,
    max_attempts: int = 5,
) -> Job:
    """Insert a job in the transaction of the change; wake a worker after the commit.

    If a job with the natural key exists, it is returned unchanged, whatever its state.

    Raises:
        Invalid: there is no such queue.
    """
    if queue not in broker.QUEUES:
        raise Invalid(f"a job's queue must be one of {', '.join(broker.QUEUES)}, not {queue!r}")
    job = Job(
        kind=kind,
        queue=queue,
        state=JobState.QUEUED,
        payload=payload,
        project_id=project_id,
        round_id=round_id,
        natural_key=natural_key,
        priority=priority,
        created_by_id=created_by_id,
        max_attempts=max_attempts,
        created_at=now(session),
        lease_token=restored_jobs.lease_floor(session),
    )
    known = _insert(session, job)
    if known is not None:
        return known
    wake_later(session, queue)
    return job


def wake_later(session: Session, queue: str) -> None:
    """Wake a worker of this queue once the transaction has been committed."""
    after_commit(session, partial(_wake, queue))


def get(session: Session, job_id: int) -> Job:
    """Return the job.

    Raises:
        NotFound: there is no such job.
    """
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def by_natural_key(session: Session, natural_key: str) -> Job | None:
    """Return the job with a natural key, if there is one."""
    return session.scalar(select(Job).where(Job.natural_key == natural_key))


def cancel(session: Session, job_id: int, *, actor_id: int | None) -> Job:
    """Cancel a queued job at once; ask a running one to end, which its worker notices in seconds.

    The job's round, if it has one, is advanced by `rounds.job_control`.

    Raises:
        Conflict: the job is over.
    """
    job = _locked(session, job_id)
    if job.state == JobState.RUNNING:
        job.cancel_requested = True
    else:
        job.state = move(JOB_MOVES, f"job {job_id}", job.state, JobState.CANCELLED)
        job.ended_at = now(session)
    shards.dismiss_helpers(session, job_id)
    _record(session, "cancel", job, actor_id)
    return job


def retry(session: Session, job_id: int, *, actor_id: int | None) -> Job:
    """Requeue a failed, cancelled or quarantined job and reset its counts.

    Raises:
        Conflict: the job is queued, running or has succeeded.
    """
    job = _locked(session, job_id)
    if job.state == JobState.RUNNING:
        raise Conflict(f"job {job_id} is running and cannot be retried")
    job.state = move(JOB_MOVES, f"job {job_id}", job.state, JobState.QUEUED)
    job.attempts = job.deaths = 0
    job.cancel_requested = job.stop_requested = False
    job.error = ""
    job.not_before = job.ended_at = None
    _record(session, "retry", job, actor_id)
    wake_later(session, job.queue)
    return job


def stop_here(session: Session, job_id: int, *, actor_id: int | None) -> Job:
    """Ask a running job to stop and keep its best result so far.

    Raises:
        Conflict: the job is not running.
    """
    job = _locked(session, job_id)
    if job.state != JobState.RUNNING:
        raise Conflict(f"job {job_id} is {job.state}; only a running job can stop here")
    job.stop_requested = True
    _record(session, "stop", job, actor_id)
    return job


def page(
    session: Session,
    *,
    states: Sequence[str] = (),
    project_id: int | None = None,
    order: ListOrder = NEWEST_FIRST,
    limit: int = 50,
) -> ListedJobs:
    """Return jobs, newest first unless another order is asked for.

    Helpers are not listed: they lie with what they help.

    Raises:
        Invalid: jobs cannot be sorted by the column.
    """
    query = (
        select(Job)
        .join(Project, Project.id == Job.project_id, isouter=True)
        .where(Job.helps_id.is_(None))
    )
    if states:
        query = query.where(Job.state.in_(states))
    if project_id is not None:
        query = query.where(Job.project_id == project_id)
    found = keyset.page(session, query, Job.id, SORTABLE, order, limit=limit)
    return ListedJobs([job for (job,) in found.rows], found.next)


def attempts(session: Session, job_id: int) -> list[JobAttempt]:
    """Return a job's attempts, newest first."""
    query = select(JobAttempt).where(JobAttempt.job_id == job_id)
    return list(session.scalars(query.order_by(JobAttempt.lease_token.desc())))


def metrics(session: Session, job_id: int, *, after_step: int = -1) -> list[Metric]:
    """Return a job's metrics after a step, by name and step."""
    query = select(Metric).where(Metric.job_id == job_id, Metric.step > after_step)
    return list(session.scalars(query.order_by(Metric.name, Metric.step)))


def samples(session: Session, job_id: int, *, limit: int = 50) -> list[TrainingSample]:
    """Return the newest completions that a job sampled for people to read."""
    query = select(TrainingSample).where(TrainingSample.job_id == job_id)
    ordered = query.order_by(TrainingSample.step.desc(), TrainingSample.n).limit(limit)
    return list(session.scalars(ordered))


def _insert(session: Session, job: Job) -> Job | None:
    """Insert the job, or return the existing job with its natural key."""
    if job.natural_key is None:
        session.add(job)
        session.flush()
        return None
    known = by_natural_key(session, job.natural_key)
    if known is not None:
        return known
    try:
        with session.begin_nested():
            session.add(job)
    except IntegrityError:  # another transaction enqueued it between the query and the insert
        known = by_natural_key(session, job.natural_key)
        if known is None:
            raise
        return known
    return None


def _record(session: Session, action: str, job: Job, actor_id: int | None) -> None:
    audit.record(
        session,
        f"job.{action}",
        f"job {job.id}",
        actor_id=actor_id,
        project_id=job.project_id,
        details={"kind": job.kind},
    )


def _locked(session: Session, job_id: int) -> Job:
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def _wake(queue: str) -> None:
    broker.wake(queue)

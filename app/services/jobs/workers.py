"""Workers for the health page: when each was last seen, its device and its current job."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.states import JobState
from app.models import Job, JobAttempt, WorkerHeartbeat
from app.services.jobs import job_leases

ALIVE_S: Final = 60  # after this long without a heartbeat a worker is shown as gone
_FORGOTTEN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Description:
    """What a worker reports about itself."""

    name: str
    queues: Sequence[str]
    device: str
    version: str


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The length and age of a queue."""

    queue: str
    waiting: int
    running: int
    oldest_waiting_s: float


@dataclass(frozen=True, slots=True)
class JobTotals:
    """Totals over all jobs ever run; all but `by_state` only ever grow."""

    by_state: dict[str, int]
    fenced_writes: int
    failures: int  # attempts that ended with an error
    deaths: int
    leases_lost: int


def seen(session: Session, worker: Description, *, job_id: int | None) -> None:
    """Record a worker's heartbeat; delete workers not seen for a day."""
    moment = now(session)
    row = session.scalar(select(WorkerHeartbeat).where(WorkerHeartbeat.name == worker.name))
    if row is None:
        row = WorkerHeartbeat(name=worker.name, started_at=moment)
        session.add(row)
    row.queues = list(worker.queues)
    row.device, row.version = worker.device[:120], worker.version[:40]
    row.seen_at, row.job_id = moment, job_id
    session.flush()
    session.execute(delete(WorkerHeartbeat).where(WorkerHeartbeat.seen_at < moment - _FORGOTTEN))


def gone(session: Session, name: str) -> None:
    """Delete a worker that shut down in order."""
    session.execute(delete(WorkerHeartbeat).where(WorkerHeartbeat.name == name))


def listed(session: Session) -> list[WorkerHeartbeat]:
    """Return the workers seen in the last day, latest heartbeat first."""
    query = select(WorkerHeartbeat).order_by(WorkerHeartbeat.seen_at.desc())
    return list(session.scalars(query))


def is_alive(worker: WorkerHeartbeat, moment: datetime) -> bool:
    """Return whether the worker was seen recently."""
    return moment - worker.seen_at <= timedelta(seconds=ALIVE_S)


def serving(session: Session, queues: Sequence[str]) -> dict[str, int]:
    """Return how many live workers take jobs of each queue."""
    moment = now(session)
    live = [worker for worker in listed(session) if is_alive(worker, moment)]
    return {queue: sum(queue in worker.queues for worker in live) for queue in queues}


def queue_figures(session: Session, queues: Sequence[str]) -> list[QueueFigures]:
    """Return the current length and age of each queue; nobody waits for helpers in the queue."""
    moment = now(session)
    is_waited_for = or_(Job.helps_id.is_(None), Job.state == JobState.RUNNING)
    query = (
        select(Job.queue, Job.state, func.count(), func.min(Job.created_at))
        .where(Job.state.in_((JobState.QUEUED, JobState.RUNNING)), is_waited_for)
        .group_by(Job.queue, Job.state)
    )
    rows = {
        (queue, state): (count, oldest) for queue, state, count, oldest in session.execute(query)
    }
    figures = []
    for queue in queues:
        waiting, oldest = rows.get((queue, JobState.QUEUED), (0, moment))
        running, _ = rows.get((queue, JobState.RUNNING), (0, moment))
        age_s = max((moment - oldest).total_seconds(), 0.0)
        figures.append(QueueFigures(queue, waiting, running, age_s))
    return figures


def totals(session: Session) -> JobTotals:
    """Return totals over all jobs.

    Failures and deaths are counted by attempts, which stay: a job's own state and count start anew
    when it is retried.
    """
    by_state = session.execute(select(Job.state, func.count()).group_by(Job.state)).all()
    outcomes = (
        select(JobAttempt.outcome, func.count())
        .where(JobAttempt.outcome.in_((job_leases.FAILED, job_leases.DIED, job_leases.LOST)))
        .group_by(JobAttempt.outcome)
    )
    ended = dict(session.execute(outcomes).all())
    return JobTotals(
        by_state={str(state): count for state, count in by_state},
        fenced_writes=session.scalar(select(func.sum(Job.fenced_writes))) or 0,
        failures=ended.get(job_leases.FAILED, 0),
        deaths=ended.get(job_leases.DIED, 0) + ended.get(job_leases.LOST, 0),
        leases_lost=ended.get(job_leases.LOST, 0),
    )

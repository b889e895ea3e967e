"""A worker's lease of a job: claimed, renewed, written under, and given up.

Each claim raises the job's `lease_token`. Everything a worker writes is conditional on the token of
its claim, so a worker that was presumed dead and returns writes nothing. Leases are compared by the
database's clock alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Update, or_, select, update
from sqlalchemy.orm import Session

from app.db import now
from app.domain.states import JOB_MOVES, OVER_JOB_STATES, JobState, move
from app.errors import Invalid, LeaseLost
from app.models import Job, JobAttempt, Round
from app.services.jobs import jobs, restored_jobs, shards

DEATHS_TO_QUARANTINE: Final = 3
FAILED: Final = "failed"  # the outcome of an attempt that ended with an error
DIED: Final = "died"  # the outcome of an attempt whose process was killed
LOST: Final = "lost"  # the outcome of an attempt whose worker was not heard of
LOG_TAIL: Final = 32_768  # characters of a log that are kept
_RETRY_FIRST_S: Final = 10
_RETRY_LAST_S: Final = 300


class Signal(StrEnum):
    """What people have asked of a running job."""

    GO_ON = ""
    CANCEL = "cancel"
    STOP_HERE = "stop_here"


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that this worker holds until the lease ends."""

    job_id: int
    lease_token: int
    kind: str
    payload: dict[str, Any]
    project_id: int | None
    round_id: int | None
    lease_floor: int = 0  # attempts up to this token are of a database that was replaced


def claim(
    session: Session, worker: str, queues: Sequence[str], *, lease_s: float
) -> ClaimedJob | None:
    """Claim the oldest runnable job of the highest priority; None when there is none."""
    moment = now(session)
    oldest = (
        select(Job.id)
        .where(_is_runnable(session, queues))
        .order_by(Job.priority.desc(), Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(Job)
        .where(Job.id == oldest.scalar_subquery(), Job.state == JobState.QUEUED)
        .values(
            state=JobState.RUNNING,
            lease_token=Job.lease_token + 1,
            lease_expires_at=moment + timedelta(seconds=lease_s),
            worker=worker,
            attempts=Job.attempts + 1,
            started_at=moment,
            progress_note="",
        )
        .returning(Job.id, Job.lease_token, Job.kind, Job.payload, Job.project_id, Job.round_id)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        return None
    claimed = replace(ClaimedJob(*row), lease_floor=restored_jobs.lease_floor(session))
    session.add(
        JobAttempt(
            job_id=claimed.job_id,
            lease_token=claimed.lease_token,
            worker=worker,
            started_at=moment,
        )
    )
    return claimed


def has_runnable(
    session: Session,
    queues: Sequence[str],
    *,
    waiting_s: float = 0.0,
    above_priority: int | None = None,
) -> bool:
    """Return whether a job of these queues can be claimed and is at least `waiting_s` old."""
    query = select(Job.id).where(_is_runnable(session, queues))
    if above_priority is not None:
        query = query.where(Job.priority > above_priority)
    if waiting_s:
        query = query.where(Job.created_at <= now(session) - timedelta(seconds=waiting_s))
    return session.scalar(query.limit(1)) is not None


def heartbeat(session: Session, job_id: int, lease_token: int, *, lease_s: float) -> Signal:
    """Renew the lease and return what people have asked of the job.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    values = {"lease_expires_at": now(session) + timedelta(seconds=lease_s)}
    row = session.execute(
        _under(job_id, lease_token)
        .values(values)
        .returning(Job.cancel_requested, Job.stop_requested)
    ).one_or_none()
    return _signal(row, job_id, lease_token)


def look(session: Session, job_id: int, lease_token: int) -> Signal:
    """Return what people have asked of the job without writing anything.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    query = select(Job.cancel_requested, Job.stop_requested)
    row = session.execute(query.where(_is_ours(job_id, lease_token))).one_or_none()
    return _signal(row, job_id, lease_token)


def progress(
    session: Session, job_id: int, lease_token: int, done: int, total: int, note: str = ""
) -> None:
    """Record the progress of the job.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    values = {
        "progress_done": done,
        "progress_total": total,
        "progress_note": storable(note)[:200],
    }
    found = session.execute(_under(job_id, lease_token).values(values).returning(Job.id))
    if found.one_or_none() is None:
        raise _lost(job_id, lease_token)


def record_log(
    session: Session, job_id: int, lease_token: int, log: str, *, pid: int | None = None
) -> None:
    """Keep the tail of an attempt's log. Needs no lease: an attempt has one writer."""
    values: dict[str, Any] = {"log": storable(log)[-LOG_TAIL:]}
    if pid is not None:
        values["pid"] = pid
    session.execute(
        update(JobAttempt)
        .where(JobAttempt.job_id == job_id, JobAttempt.lease_token == lease_token)
        .values(values)
        .execution_options(synchronize_session=False)
    )


def hold(session: Session, job_id: int, lease_token: int) -> Job:
    """Return the job, locked until the transaction ends so that the lease cannot be lost meanwhile.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    query = select(Job).where(_is_ours(job_id, lease_token)).with_for_update()
    job = session.scalar(query.execution_options(populate_existing=True))
    if job is None:
        raise _lost(job_id, lease_token)
    return job


def lock_round(session: Session, round_id: int) -> None:
    """Lock a job's round; always before the job itself, which prevents deadlocks."""
    session.execute(select(Round.id).where(Round.id == round_id).with_for_update())


def has_succeeded(session: Session, job_id: int, lease_token: int) -> bool:
    """Return whether this claim has succeeded already (the reply to its commit was lost)."""
    query = select(Job.id).where(
        Job.id == job_id, Job.lease_token == lease_token, Job.state == JobState.SUCCEEDED
    )
    return session.scalar(query) is not None


def succeed(session: Session, job_id: int, lease_token: int, result: Mapping[str, Any]) -> Job:
    """End the job as succeeded, in the transaction that writes its results.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    job = hold(session, job_id, lease_token)
    job.result = dict(result)
    job.error = ""
    job.progress_done = job.progress_total
    return _end(session, job, JobState.SUCCEEDED, "succeeded")


def fail(
    session: Session, job_id: int, lease_token: int, error: str, *, is_transient: bool = False
) -> Job:
    """End the job as failed; after a transient error, requeue it with exponential backoff.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    job = hold(session, job_id, lease_token)
    if not is_transient or job.attempts >= job.max_attempts:
        return _end(session, job, JobState.FAILED, FAILED, error)
    delay_s = min(_RETRY_FIRST_S * 2 ** (job.attempts - 1), _RETRY_LAST_S)
    return _back(session, job, FAILED, error, delay_s=delay_s)


def requeue(session: Session, job_id: int, lease_token: int) -> Job:
    """Return the job to the queue because its worker shuts down; this does not count as an attempt.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    job = hold(session, job_id, lease_token)
    job.attempts -= 1
    return _back(session, job, "requeued")


def died(session: Session, job_id: int, lease_token: int, error: str) -> Job:
    """Requeue a job whose process was killed; quarantine it after the third time.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    return _died(session, hold(session, job_id, lease_token), DIED, error)


def cancelled(session: Session, job_id: int, lease_token: int) -> Job:
    """End a job that people cancelled.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    job = hold(session, job_id, lease_token)
    return _end(session, job, JobState.CANCELLED, "cancelled")


def reap(session: Session, *, limit: int = 1) -> list[Job]:
    """Requeue running jobs whose lease has expired because their worker stopped responding."""
    query = (
        select(Job)
        .where(Job.state == JobState.RUNNING, Job.lease_expires_at < now(session))
        .order_by(Job.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return [
        _died(session, job, LOST, f"worker {job.worker} stopped responding")
        for job in session.scalars(query).all()
    ]


def count_fenced(session: Session, job_id: int) -> None:
    """Count a write that was refused because of an outdated token."""
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(fenced_writes=Job.fenced_writes + 1)
        .execution_options(synchronize_session=False)
    )


def storable(text: str) -> str:
    """Return the text without NUL characters, which PostgreSQL cannot store."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _died(session: Session, job: Job, outcome: str, error: str) -> Job:
    job.deaths += 1
    if job.deaths >= DEATHS_TO_QUARANTINE:
        return _end(session, job, JobState.QUARANTINED, outcome, error)
    if job.attempts >= job.max_attempts:
        return _end(session, job, JobState.FAILED, outcome, error)
    return _back(session, job, outcome, error)


def _back(
    session: Session, job: Job, outcome: str, error: str = "", *, delay_s: float = 0.0
) -> Job:
    if job.cancel_requested:
        return _end(session, job, JobState.CANCELLED, outcome, error)
    job = _end(session, job, JobState.QUEUED, outcome, error)
    job.ended_at = None
    job.not_before = now(session) + timedelta(seconds=delay_s) if delay_s else None
    jobs.wake_later(session, job.queue)
    return job


def _end(session: Session, job: Job, state: JobState, outcome: str, error: str = "") -> Job:
    moment = now(session)
    job.state = move(JOB_MOVES, f"job {job.id}", job.state, state)
    job.error = storable(error) if error else job.error
    job.lease_expires_at = None
    job.worker = ""
    job.ended_at = moment
    session.execute(
        update(JobAttempt)
        .where(JobAttempt.job_id == job.id, JobAttempt.lease_token == job.lease_token)
        .values(ended_at=moment, outcome=outcome, error=storable(error))
        .execution_options(synchronize_session=False)
    )
    session.flush()
    if state in OVER_JOB_STATES:
        shards.dismiss_helpers(session, job.id)
    return job


def _is_runnable(session: Session, queues: Sequence[str]) -> ColumnElement[bool]:
    if not queues:
        raise Invalid("a worker must name at least one queue")
    is_due = or_(Job.not_before.is_(None), Job.not_before <= now(session))
    return (Job.queue.in_(queues)) & (Job.state == JobState.QUEUED) & is_due


def _is_ours(job_id: int, lease_token: int) -> ColumnElement[bool]:
    return (Job.id == job_id) & (Job.lease_token == lease_token) & (Job.state == JobState.RUNNING)


def _under(job_id: int, lease_token: int) -> Update:
    """Start an update of the job that changes nothing unless this claim still holds it."""
    statement = update(Job).where(_is_ours(job_id, lease_token))
    return statement.execution_options(synchronize_session=False)


def _signal(row: Row[bool, bool] | None, job_id: int, lease_token: int) -> Signal:
    if row is None:
        raise _lost(job_id, lease_token)
    is_cancelled, is_stopped = row
    if is_cancelled:
        return Signal.CANCEL
    return Signal.STOP_HERE if is_stopped else Signal.GO_ON


def _lost(job_id: int, lease_token: int) -> LeaseLost:
    return LeaseLost(f"job {job_id} is no longer held under lease {lease_token}")

"""Shards: parts of a job's work, taken by the job itself and by the jobs that help it.

A shard has no lease of its own. A job holds it under the job's lease, and whoever looks for work
finds it free once that lease has ended, however it ended. So what renews, fences and counts jobs
does the same for shards, and a lost shard is done again by the next job that looks.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.db import now
from app.domain.states import OVER_JOB_STATES, JobState
from app.errors import LeaseLost
from app.models import Job, Shard


@dataclass(frozen=True, slots=True)
class Part:
    """A part of some work, before it is a shard: how many rows it has, and which."""

    rows: int
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class HeldShard:
    """A shard that a job holds."""

    id: int
    n: int
    rows: int
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Holder:
    """The job that holds shards, and the token of its lease."""

    job_id: int
    lease_token: int
    worker: str = ""


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far the shards of some work are, and how many workers hold or held one."""

    shards: int = 0
    ended: int = 0
    rows: int = 0
    rows_ended: int = 0
    workers: int = 0

    @property
    def by_workers(self) -> str:
        """What a note of progress says if several workers take part."""
        return f", by {self.workers} workers" if self.workers > 1 else ""

    @property
    def is_over(self) -> bool:
        """Whether all shards have ended, or there are none."""
        return self.ended == self.shards


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one worker has done of a job's shards, and whether it has one now.

    `worker` is empty for the shards that nobody has taken yet.
    """

    worker: str
    shards: int
    ended: int
    rows: int
    repeated: int


def cut(session: Session, job_id: int, work: str, parts: Iterable[Part]) -> int:
    """Add shards of a job's work, after those that there are; return how many were added."""
    of_work = (Shard.job_id == job_id, Shard.work == work)
    newest = session.scalar(select(func.max(Shard.n)).where(*of_work)) or 0
    rows = [
        Shard(job_id=job_id, work=work, n=n, rows=part.rows, payload=part.payload)
        for n, part in enumerate(parts, start=newest + 1)
    ]
    session.add_all(rows)
    session.flush()
    return len(rows)


def drop_open(session: Session, job_id: int) -> None:
    """Delete the shards of a job that have not ended, where a new attempt starts over."""
    session.execute(
        delete(Shard)
        .where(Shard.job_id == job_id, Shard.ended_at.is_(None))
        .execution_options(synchronize_session=False)
    )


def take(
    session: Session, job_id: int, holder: Holder, *, work: str | None = None
) -> HeldShard | None:
    """Take the first free shard of a job, of some work or of any; None if none is, or it is over.

    The caller holds the lease of `holder`'s job in this transaction.
    """
    of_work = [] if work is None else [Shard.work == work]
    is_alive = exists().where(Job.id == job_id, Job.state.not_in(OVER_JOB_STATES))
    first = (
        select(Shard.id)
        .where(Shard.job_id == job_id, *of_work, _is_free(), is_alive)
        .order_by(Shard.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=Shard)
    )
    statement = (
        update(Shard)
        .where(Shard.id == first.scalar_subquery(), _is_free())
        .values(
            holder_id=holder.job_id,
            holder_token=holder.lease_token,
            worker=holder.worker,
            claims=Shard.claims + 1,
            started_at=now(session),
        )
        .returning(Shard.id, Shard.n, Shard.rows, Shard.payload)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).one_or_none()
    return None if row is None else HeldShard(*row)


def finish(session: Session, shard_id: int, holder: Holder, result: dict[str, Any]) -> None:
    """End a shard, in a transaction that holds the lease of `holder`'s job.

    Raises:
        LeaseLost: another job has the shard.
    """
    statement = (
        update(Shard)
        .where(
            Shard.id == shard_id,
            Shard.holder_id == holder.job_id,
            Shard.holder_token == holder.lease_token,
            Shard.ended_at.is_(None),
        )
        .values(ended_at=now(session), result=result)
        .returning(Shard.id)
        .execution_options(synchronize_session=False)
    )
    if session.execute(statement).one_or_none() is None:
        raise LeaseLost(f"shard {shard_id} is no longer held by job {holder.job_id}")


def progress(session: Session, job_id: int, work: str) -> ShardProgress:
    """Return how far the shards of some work of a job are."""
    has_ended = Shard.ended_at.is_not(None)
    query = select(
        func.count(),
        func.count().filter(has_ended),
        func.coalesce(func.sum(Shard.rows), 0),
        func.coalesce(func.sum(Shard.rows).filter(has_ended), 0),
        func.count(Shard.worker.distinct()).filter(Shard.claims > 0),
    ).where(Shard.job_id == job_id, Shard.work == work)
    return ShardProgress(*session.execute(query).one())


def of_job(session: Session, job_id: int) -> list[Shard]:
    """Return the shards of a job in the order in which they were cut."""
    query = select(Shard).where(Shard.job_id == job_id).order_by(Shard.id)
    return list(session.scalars(query))


def of_work(session: Session, job_id: int, work: str) -> list[Shard]:
    """Return the shards of some work of a job, in order."""
    query = select(Shard).where(Shard.job_id == job_id, Shard.work == work).order_by(Shard.n)
    return list(session.scalars(query))


def shares(session: Session, job_ids: Collection[int]) -> dict[int, list[WorkerShare]]:
    """Return who has what of the shards of jobs, by job; jobs without shards are left out."""
    has_ended = Shard.ended_at.is_not(None)
    columns = (
        func.count(),
        func.count().filter(has_ended),
        func.sum(Shard.rows),
        func.count().filter(Shard.claims > 1),
    )
    query = (
        select(Shard.job_id, Shard.worker, *columns)
        .where(Shard.job_id.in_(job_ids))
        .group_by(Shard.job_id, Shard.worker)
        .order_by(Shard.job_id, Shard.worker)
    )
    by_job: dict[int, list[WorkerShare]] = {}
    for job_id, worker, count, ended, rows, repeated in session.execute(query):
        share = WorkerShare(worker, count, ended, rows, repeated)
        by_job.setdefault(job_id, []).append(share)
    return by_job


def helpers_of(session: Session, job_id: int) -> list[Job]:
    """Return the jobs that help a job, oldest first."""
    return list(session.scalars(select(Job).where(Job.helps_id == job_id).order_by(Job.id)))


def dismiss_helpers(session: Session, job_id: int) -> None:
    """Cancel the helpers of a job that is over; running ones notice within seconds."""
    helping = update(Job).where(Job.helps_id == job_id)
    quietly = {"synchronize_session": False}
    session.execute(
        helping.where(Job.state == JobState.QUEUED)
        .values(state=JobState.CANCELLED, ended_at=now(session))
        .execution_options(**quietly)
    )
    session.execute(
        helping.where(Job.state == JobState.RUNNING)
        .values(cancel_requested=True)
        .execution_options(**quietly)
    )


def _is_free() -> ColumnElement[bool]:
    """Whether a shard has not ended, and no job that runs under the lease it had holds it."""
    holder = aliased(Job)
    is_held = exists().where(
        holder.id == Shard.holder_id,
        holder.lease_token == Shard.holder_token,
        holder.state == JobState.RUNNING,
    )
    return Shard.ended_at.is_(None) & or_(Shard.holder_id.is_(None), ~is_held)

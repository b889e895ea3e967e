"""Jobs that help another: each takes shards of its work on a worker of its own.

A helper is a job like any other, so that it is claimed, renewed, fenced, counted and logged like
one. Nothing waits for it: the job that it helps takes every shard that is free itself.
"""

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.models import Job, WorkerHeartbeat
from app.queue import QueueName
from app.services.jobs import job_leases, jobs, workers

KIND: Final = "help"
LATER: Final = 1
"""How much lower a helper's priority is, so that jobs of their own go first."""
_PATIENCE_S: Final = 5.0  # a job that waits for so long found no other worker


def others(session: Session, job_id: int) -> int:
    """Return how many workers beside its own could help a job; 0 if none is like its own.

    Workers on another kind of device are counted if one is like it: a helper that one of them
    claims ends at once.
    """
    job = jobs.get(session, job_id)
    moment = now(session)
    own = _of(session, job)
    serving = [
        worker
        for worker in workers.listed(session)
        if job.queue in worker.queues
        and worker.name != job.worker
        and workers.is_alive(worker, moment)
    ]
    is_any_alike = own is not None and any(_kind(own) == _kind(worker) for worker in serving)
    return len(serving) if is_any_alike else 0


def ask(session: Session, job_id: int, work: str, count: int) -> None:
    """Enqueue helpers of a job for some work, up to `count` in this attempt."""
    job = jobs.get(session, job_id)
    own = _of(session, job)
    device, version = ("", "") if own is None else _kind(own)
    queue: QueueName = "gpu" if job.queue == "gpu" else "cpu"
    for number in range(count):
        helper = jobs.enqueue(
            session,
            kind=KIND,
            queue=queue,
            payload={"job_id": job.id, "device": device, "version": version},
            project_id=job.project_id,
            natural_key=f"help-{job.id}-{job.lease_token}-{work}-{number}",
            priority=job.priority - LATER,
            created_by_id=job.created_by_id,
        )
        helper.helps_id = job.id
    session.flush()


def misfit(session: Session, job_id: int) -> str:
    """Return why the worker that claimed a helper cannot help; empty if it can.

    Another kind of device, or another version, may compute other last digits.
    """
    helper = jobs.get(session, job_id)
    own = _of(session, helper)
    wanted = (helper.payload["device"], helper.payload["version"])
    if own is None or _kind(own) == wanted:
        return ""
    return (
        f"The job runs on {wanted[0]} with version {wanted[1]}, and this worker has {own.device} "
        f"with version {own.version}: its results could differ in their last digits."
    )


def is_wanted_elsewhere(session: Session, job_id: int) -> bool:
    """Whether a job of its own waits for the worker that a helper occupies."""
    helper = jobs.get(session, job_id)
    own = _of(session, helper)
    queues = [helper.queue] if own is None else own.queues
    return job_leases.has_runnable(
        session, queues, waiting_s=_PATIENCE_S, above_priority=helper.priority
    )


def _of(session: Session, job: Job) -> WorkerHeartbeat | None:
    """Return the worker that has a job."""
    return session.scalar(select(WorkerHeartbeat).where(WorkerHeartbeat.name == job.worker))


def _kind(worker: WorkerHeartbeat) -> tuple[str, str]:
    return worker.device, worker.version

"""What a queued job waits for, in words: no worker, a busy one, and the jobs before it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.states import JobState
from app.models import Job
from app.services.jobs import workers

WORK: Final[Mapping[str, str]] = {
    "answer": "generating responses",
    "chat": "a chat",
    "check": "checking a base model",
    "evaluate": "an evaluation",
    "export": "an export",
    "generate": "generating candidates",
    "help": "helping another job",
    "import": "an import",
    "judge": "an AI judge",
    "merge": "merging a model",
    "policy": "training a policy",
    "push": "an upload to a hub",
    "reward": "training a reward model",
    "score": "scores",
    "sft": "supervised fine-tuning",
    "words": "making imported texts searchable",
}
"""What a worker does in a job of each kind."""


@dataclass(frozen=True, slots=True)
class _Lanes:
    """The live workers of each queue, what they run, and the jobs that wait."""

    moment: datetime
    serving: Mapping[str, Sequence[str]]
    running: Mapping[str, Sequence[str]]
    waiting: Sequence[tuple[str, int, int]]  # queue, priority, id


def why(session: Session, job: Job) -> str:
    """Return why a job has not started; empty if it is not queued."""
    return reasons(session, [job]).get(job.id, "")


def reasons(session: Session, jobs: Iterable[Job]) -> dict[int, str]:
    """Return why jobs have not started, by id; those that are not queued have no reason."""
    queued = [job for job in jobs if job.state == JobState.QUEUED]
    if not queued:
        return {}
    lanes = _lanes(session, sorted({job.queue for job in queued}))
    return {job.id: _reason(lanes, job) for job in queued}


def _lanes(session: Session, queues: Sequence[str]) -> _Lanes:
    moment = now(session)
    live = [worker for worker in workers.listed(session) if workers.is_alive(worker, moment)]
    serving = {queue: [one.name for one in live if queue in one.queues] for queue in queues}
    held = session.execute(
        select(Job.worker, Job.kind).where(Job.state == JobState.RUNNING).order_by(Job.id)
    ).all()
    running = {
        queue: [WORK.get(kind, kind) for worker, kind in held if worker in names]
        for queue, names in serving.items()
    }
    waiting = session.execute(
        select(Job.queue, Job.priority, Job.id).where(
            Job.state == JobState.QUEUED, Job.queue.in_(queues)
        )
    ).all()
    return _Lanes(
        moment, serving, running, [(queue, priority, id) for queue, priority, id in waiting]
    )


def _reason(lanes: _Lanes, job: Job) -> str:
    moment = lanes.moment
    if job.not_before is not None and job.not_before > moment:
        return (
            f"The last attempt failed: {job.error or 'the worker was lost'}. The next one starts "
            f"at {job.not_before:%H:%M:%S} UTC."
        )
    if not lanes.serving[job.queue]:
        return (
            f"Waiting for a worker: no running worker takes jobs from the {job.queue.upper()} "
            "queue. The operator can start one."
        )
    running = lanes.running[job.queue]
    doing = f" Running now: {', '.join(running)}." if running else ""
    ahead = sum(
        queue == job.queue and (-priority, id) < (-job.priority, job.id)
        for queue, priority, id in lanes.waiting
    )
    before = f" {ahead} job{'s' if ahead != 1 else ''} ahead of this one." if ahead else ""
    return f"Waiting for a worker.{doing}{before}"

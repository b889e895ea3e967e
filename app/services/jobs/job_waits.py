"""What a queued job waits for, in words: no worker, a busy one, and the jobs before it."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import and_, func, or_, select
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


def why(session: Session, job: Job) -> str:
    """Return why a job has not started; empty if it is not queued."""
    if job.state != JobState.QUEUED:
        return ""
    moment = now(session)
    if job.not_before is not None and job.not_before > moment:
        return (
            f"The last attempt failed: {job.error or 'the worker was lost'}. The next one starts "
            f"at {job.not_before:%H:%M:%S} UTC."
        )
    serving = [
        worker.name
        for worker in workers.listed(session)
        if job.queue in worker.queues and workers.is_alive(worker, moment)
    ]
    if not serving:
        return (
            f"Waiting for a worker: none is running that takes jobs of the queue {job.queue}. "
            "The operator can start one."
        )
    query = select(Job.kind).where(Job.worker.in_(serving), Job.state == JobState.RUNNING)
    running = [WORK.get(kind, kind) for kind in session.scalars(query)]
    doing = f" It is busy with: {', '.join(running)}." if running else ""
    ahead = _ahead(session, job)
    before = f" {ahead} job{'s' if ahead != 1 else ''} before this one." if ahead else ""
    return f"Waiting for a worker.{doing}{before}"


def _ahead(session: Session, job: Job) -> int:
    """Count the jobs that are claimed before this one."""
    is_before = or_(
        Job.priority > job.priority, and_(Job.priority == job.priority, Job.id < job.id)
    )
    query = select(func.count()).where(
        Job.queue == job.queue, Job.state == JobState.QUEUED, is_before
    )
    return session.scalar(query) or 0

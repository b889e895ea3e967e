"""Merged models: a checkpoint's adapter joined with its base by a job, as one folder."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.states import JobState
from app.errors import Conflict, Invalid, NotFound
from app.models import Checkpoint, CheckpointKind, Job
from app.services.checkpoints import checkpoints
from app.services.jobs import jobs
from app.services.people import audit

KIND = "merge"


@dataclass(frozen=True, slots=True)
class MergedFolder:
    """A job that merges a checkpoint, and what it has made.

    Attributes:
        job: the job, in any state.
        member: of an ensemble of reward models; empty for other models.
    """

    job: Job
    member: str

    @property
    def is_ready(self) -> bool:
        """Whether the folder can be downloaded."""
        return self.job.state == JobState.SUCCEEDED

    @property
    def is_over(self) -> bool:
        """Whether the job has ended without a folder, so that it can be tried again."""
        return self.job.state in {JobState.FAILED, JobState.CANCELLED, JobState.QUARANTINED}

    @property
    def uri(self) -> str:
        """Where the folder is, below the artifact root."""
        return str(self.job.result.get("folder", ""))


def members(checkpoint: Checkpoint) -> Sequence[str]:
    """Return the models in a checkpoint that can each be merged; one without a name if only one."""
    names: list[str] = checkpoint.config.get("names", [])
    return names if checkpoint.kind == CheckpointKind.REWARD and len(names) > 1 else [""]


def request(
    session: Session, checkpoint: Checkpoint, member: str = "", *, user_id: int | None
) -> Job:
    """Enqueue the job that merges a checkpoint, once; a job that failed is tried again.

    Raises:
        Invalid: it is a base model, or an ensemble of which no member is named.
        Conflict: the model is retired.
    """
    if checkpoint.kind == CheckpointKind.BASE:
        raise Invalid(f"{checkpoint.name} is a base model; it is at {checkpoint.uri} as it is")
    checkpoints.lock(session, checkpoint)
    if checkpoint.state != "ready":
        raise Conflict(f"{checkpoint.name} is {checkpoint.state}; only ready models are merged")
    known = members(checkpoint)
    if member not in known:
        listed = ", ".join(known) or "none"
        raise Invalid(f"{checkpoint.name} has the members {listed}; {member!r} is none of them")
    job = jobs.by_natural_key(session, _key(checkpoint, member))
    if job is not None:
        is_over = MergedFolder(job, member).is_over
        return jobs.retry(session, job.id, actor_id=user_id) if is_over else job
    audit.record(
        session,
        "checkpoint.merge",
        checkpoint.name,
        actor_id=user_id,
        project_id=checkpoint.project_id,
        details={"member": member},
    )
    return jobs.enqueue(
        session,
        kind=KIND,
        queue="cpu",
        payload={"checkpoint_id": checkpoint.id, "member": member},
        project_id=checkpoint.project_id,
        natural_key=_key(checkpoint, member),
        created_by_id=user_id,
    )


def of_checkpoint(session: Session, checkpoint: Checkpoint) -> list[MergedFolder]:
    """Return the merges of a checkpoint that were requested, in the order of its members."""
    keys = {_key(checkpoint, member): member for member in members(checkpoint)}
    rows = session.scalars(select(Job).where(Job.natural_key.in_(keys)))
    found = {str(job.natural_key): job for job in rows}
    return [MergedFolder(found[key], member) for key, member in keys.items() if key in found]


def ready(session: Session, checkpoint: Checkpoint, member: str = "") -> MergedFolder:
    """Return a merged folder that is finished.

    Raises:
        NotFound: none was requested, or its job has not made it.
    """
    for merged in of_checkpoint(session, checkpoint):
        if merged.member == member and merged.is_ready:
            return merged
    raise NotFound(f"there is no merged model of {checkpoint.name} yet; have it merged first")


def _key(checkpoint: Checkpoint, member: str) -> str:
    return f"merge-{checkpoint.id}-{member}"

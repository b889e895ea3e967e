"""Uploads of models to a hub by jobs: the adapter as it is, or a merged folder.

The token is in the environment of the workers alone: nothing here knows it.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import hub_names
from app.domain.states import OVER_JOB_STATES
from app.errors import Conflict, Invalid
from app.models import Checkpoint, CheckpointKind, Job
from app.services.checkpoints import checkpoints, merged_models
from app.services.jobs import jobs
from app.services.people import audit

KIND = "push"
SHOWN = 5


@dataclass(frozen=True, slots=True)
class HubPush:
    """What is uploaded, and where to.

    `is_merged` uploads a merged folder, which must be ready, and otherwise the checkpoint's own;
    `member` names the merged model of an ensemble.
    """

    name: str
    is_private: bool = True
    is_merged: bool = False
    member: str = ""


def request(session: Session, checkpoint: Checkpoint, push: HubPush, *, user_id: int | None) -> Job:
    """Enqueue the job that uploads a model.

    Raises:
        Invalid: the name is none, or it is a base model.
        NotFound: the merged folder is not ready.
        Conflict: the model is retired, or is being uploaded under this name.
    """
    hub_names.check(push.name)
    if checkpoint.kind == CheckpointKind.BASE:
        raise Invalid(f"{checkpoint.name} is a base model; only trained models are pushed")
    checkpoints.lock(session, checkpoint)
    if checkpoint.state != "ready":
        raise Conflict(f"{checkpoint.name} is {checkpoint.state}; only ready models are pushed")
    uri, sha256 = checkpoint.uri, checkpoint.sha256
    if push.is_merged:
        merged = merged_models.ready(session, checkpoint, push.member)
        uri, sha256 = merged.uri, str(merged.job.result["sha256"])
    for job in of_checkpoint(session, checkpoint):
        if job.payload["name"] == push.name and job.state not in OVER_JOB_STATES:
            raise Conflict(f"job {job.id} is pushing {checkpoint.name} to {push.name} already")
    details = {"name": push.name, "private": push.is_private, "merged": push.is_merged}
    audit.record(
        session,
        "checkpoint.push",
        checkpoint.name,
        actor_id=user_id,
        project_id=checkpoint.project_id,
        details=details,
    )
    return jobs.enqueue(
        session,
        kind=KIND,
        queue="cpu",
        payload={"checkpoint_id": checkpoint.id, "uri": uri, "sha256": sha256, **details},
        project_id=checkpoint.project_id,
        created_by_id=user_id,
    )


def of_checkpoint(session: Session, checkpoint: Checkpoint, *, limit: int = SHOWN) -> list[Job]:
    """Return the newest uploads of a model, newest first."""
    query = (
        select(Job)
        .where(Job.project_id == checkpoint.project_id, Job.kind == KIND)
        .order_by(Job.id.desc())
        .limit(200)
    )
    mine = (job for job in session.scalars(query) if job.payload["checkpoint_id"] == checkpoint.id)
    return [job for job, _ in zip(mine, range(limit), strict=False)]

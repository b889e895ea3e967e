"""Jobs: listing them, their metrics and samples, and cancelling, retrying or stopping them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.db.keyset import ListOrder
from app.domain.states import JobState
from app.models import Job
from app.services.jobs import jobs, shards
from app.services.rounds import job_control
from app.web.addresses import AddressedRoute
from app.web.deps import AdminAccess, LeadAccess
from app.web.row_ids import RowId, RowIdIn

router = APIRouter(prefix="/api/v1", tags=["jobs"], route_class=AddressedRoute)
OF_PROJECT = "/projects/{slug}/jobs"


@dataclass(frozen=True, slots=True)
class JobOut:
    """A job."""

    id: int
    kind: str
    queue: str
    state: JobState
    project_id: int | None
    round_id: int | None
    helps_id: int | None
    attempts: int
    progress_done: int
    progress_total: int
    progress_note: str
    error: str
    result: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> "JobOut":
        """Return a job in the form of the API."""
        return cls(
            id=job.id,
            kind=job.kind,
            queue=job.queue,
            state=JobState(job.state),
            project_id=job.project_id,
            round_id=job.round_id,
            helps_id=job.helps_id,
            attempts=job.attempts,
            progress_done=job.progress_done,
            progress_total=job.progress_total,
            progress_note=job.progress_note,
            error=job.error,
            result=job.result,
            created_at=job.created_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
        )


@dataclass(frozen=True, slots=True)
class MetricCurve:
    """The values of one metric, in order of steps."""

    name: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class SampleOut:
    """A response that was kept during training."""

    step: int
    prompt: str
    completion: str
    score: float | None


@dataclass(frozen=True, slots=True)
class WorkerShareOut:
    """What one worker has of the shards of a job; `worker` is empty for those that are free."""

    worker: str
    shards: int
    ended: int
    rows: int
    repeated: int

    @classmethod
    def of_job(cls, session: Session, job: Job) -> "list[WorkerShareOut]":
        """Return who has what of a job's shards."""
        found = shards.shares(session, [job.id]).get(job.id, [])
        return [
            cls(share.worker, share.shards, share.ended, share.rows, share.repeated)
            for share in found
        ]


Before = Annotated[RowIdIn | None, Query(description="Only jobs with a lower id.")]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/jobs")
def all_jobs(access: AdminAccess, before: Before = None, limit: Limit = 50) -> list[JobOut]:
    """Return the jobs of all projects, newest first."""
    listed = jobs.page(access.session, order=ListOrder(after=before), limit=limit)
    return [JobOut.of(job) for job in listed.rows]


@router.get("/jobs/{job_id}")
def any_job(access: AdminAccess, job_id: RowId) -> JobOut:
    """Return a job of any project, or of none."""
    return JobOut.of(jobs.get(access.session, job_id))


@router.get("/jobs/{job_id}/shards")
def shards_of_any(access: AdminAccess, job_id: RowId) -> list[WorkerShareOut]:
    """Return who has what of a job that workers share."""
    return WorkerShareOut.of_job(access.session, jobs.get(access.session, job_id))


@router.post("/jobs/{job_id}/{action}")
def act_on_any(access: AdminAccess, job_id: RowId, action: job_control.Action) -> JobOut:
    """Cancel, retry or stop a job."""
    job = job_control.apply(access.session, job_id, action, actor_id=access.user.id)
    return JobOut.of(job)


@router.get(OF_PROJECT)
def of_project(access: LeadAccess, before: Before = None, limit: Limit = 50) -> list[JobOut]:
    """Return the jobs of the project, newest first."""
    order, project_id = ListOrder(after=before), access.project.id
    listed = jobs.page(access.session, project_id=project_id, order=order, limit=limit)
    return [JobOut.of(job) for job in listed.rows]


@router.get(f"{OF_PROJECT}/{{job_id}}")
def one(access: LeadAccess, job_id: RowId) -> JobOut:
    """Return a job of the project."""
    return JobOut.of(_job(access, job_id))


@router.get(f"{OF_PROJECT}/{{job_id}}/metrics")
def metrics(
    access: LeadAccess,
    job_id: RowId,
    after_step: Annotated[int, Query(description="Only points after this step.")] = -1,
) -> list[MetricCurve]:
    """Return the metrics of the job."""
    curves: dict[str, MetricCurve] = {}
    for row in jobs.metrics(access.session, _job(access, job_id).id, after_step=after_step):
        curve = curves.setdefault(row.name, MetricCurve(row.name, [], []))
        curve.steps.append(row.step)
        curve.values.append(row.value)
    return list(curves.values())


@router.get(f"{OF_PROJECT}/{{job_id}}/samples")
def samples(access: LeadAccess, job_id: RowId, limit: Limit = 50) -> list[SampleOut]:
    """Return the responses that the job kept, newest step first."""
    kept = jobs.samples(access.session, _job(access, job_id).id, limit=limit)
    return [SampleOut(row.step, row.prompt, row.completion, row.score) for row in kept]


@router.get(f"{OF_PROJECT}/{{job_id}}/shards")
def shards_of_one(access: LeadAccess, job_id: RowId) -> list[WorkerShareOut]:
    """Return who has what of a job of the project that workers share."""
    return WorkerShareOut.of_job(access.session, _job(access, job_id))


@router.post(f"{OF_PROJECT}/{{job_id}}/{{action}}")
def act(access: LeadAccess, job_id: RowId, action: job_control.Action) -> JobOut:
    """Cancel, retry or stop a job of the project."""
    job = job_control.apply(
        access.session, job_id, action, actor_id=access.user.id, project_id=access.project.id
    )
    return JobOut.of(job)


def _job(access: LeadAccess, job_id: int) -> Job:
    return job_control.find(access.session, job_id, project_id=access.project.id)

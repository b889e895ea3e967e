"""Jobs over HTTP: list, look, curves, samples, and the buttons."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.domain.states import JobState
from app.models import Job
from app.services.jobs import jobs
from app.services.rounds import job_control
from app.web.addresses import AddressedRoute
from app.web.deps import AdminAccess, LeadAccess

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
        """Read the row."""
        return cls(
            id=job.id,
            kind=job.kind,
            queue=job.queue,
            state=JobState(job.state),
            project_id=job.project_id,
            round_id=job.round_id,
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
class Curve:
    """A metric's points in order of steps."""

    name: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class SampleOut:
    """A completion kept while training."""

    step: int
    prompt: str
    completion: str
    score: float | None


Before = Annotated[int | None, Query(description="Only jobs with a lower id.")]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/jobs")
def all_jobs(access: AdminAccess, before: Before = None, limit: Limit = 50) -> list[JobOut]:
    """List every project's jobs, newest first."""
    return [JobOut.of(job) for job in jobs.page(access.session, before_id=before, limit=limit)]


@router.get("/jobs/{job_id}")
def any_job(access: AdminAccess, job_id: int) -> JobOut:
    """Return a job of any project, or of none."""
    return JobOut.of(jobs.get(access.session, job_id))


@router.post("/jobs/{job_id}/{action}")
def act_on_any(access: AdminAccess, job_id: int, action: job_control.Action) -> JobOut:
    """Cancel, retry or stop a job."""
    job = job_control.apply(access.session, job_id, action, actor_id=access.user.id)
    return JobOut.of(job)


@router.get(OF_PROJECT)
def of_project(access: LeadAccess, before: Before = None, limit: Limit = 50) -> list[JobOut]:
    """List the project's jobs, newest first."""
    found = jobs.page(access.session, project_id=access.project.id, before_id=before, limit=limit)
    return [JobOut.of(job) for job in found]


@router.get(f"{OF_PROJECT}/{{job_id}}")
def one(access: LeadAccess, job_id: int) -> JobOut:
    """Return a job of the project."""
    return JobOut.of(_found(access, job_id))


@router.get(f"{OF_PROJECT}/{{job_id}}/metrics")
def metrics(
    access: LeadAccess,
    job_id: int,
    after_step: Annotated[int, Query(description="Only points beyond this step.")] = -1,
) -> list[Curve]:
    """Return the job's curves."""
    curves: dict[str, Curve] = {}
    for row in jobs.metrics(access.session, _found(access, job_id).id, after_step=after_step):
        curve = curves.setdefault(row.name, Curve(row.name, [], []))
        curve.steps.append(row.step)
        curve.values.append(row.value)
    return list(curves.values())


@router.get(f"{OF_PROJECT}/{{job_id}}/samples")
def samples(access: LeadAccess, job_id: int, limit: Limit = 50) -> list[SampleOut]:
    """Return completions the job kept, the newest step first."""
    found = jobs.samples(access.session, _found(access, job_id).id, limit=limit)
    return [SampleOut(row.step, row.prompt, row.completion, row.score) for row in found]


@router.post(f"{OF_PROJECT}/{{job_id}}/{{action}}")
def act(access: LeadAccess, job_id: int, action: job_control.Action) -> JobOut:
    """Cancel, retry or stop a job of the project."""
    job = job_control.apply(
        access.session, job_id, action, actor_id=access.user.id, project_id=access.project.id
    )
    return JobOut.of(job)


def _found(access: LeadAccess, job_id: int) -> Job:
    return job_control.find(access.session, job_id, project_id=access.project.id)

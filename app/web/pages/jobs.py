"""Jobs and workers: what is queued, running or failed, and the actions on it.

Administrators see all jobs; leads see the jobs of their project, at an address of the project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from fastapi import Query, Request, Response
from sqlalchemy.orm import Session

from app.db import now
from app.db.keyset import ListOrder
from app.domain.states import OVER_JOB_STATES, JobState
from app.models import Job, JobAttempt, Project, WorkerHeartbeat
from app.queue import QUEUES
from app.services.jobs import backups_taken, job_waits, jobs, shards, workers
from app.services.jobs.backups_taken import BackupAge
from app.services.jobs.shards import WorkerShare
from app.services.people import accounts
from app.services.project import projects
from app.services.rounds import job_control
from app.web import addresses, list_orders
from app.web.deps import AdminAccess, LeadAccess
from app.web.list_orders import Before, Direction, ListLinks, Sort, Value
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()
PAGE_SIZE = 50
NOTICES = {
    "cancel": "Job {id} is being cancelled.",
    "retry": "Job {id} is back in the queue.",
    "stop": "Job {id} will stop and keep its best model.",
}


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job in the list, with its times in seconds.

    `waits_for` says why it has not started, and `shares` who has what of its shards.
    """

    job: Job
    project: str
    age_s: float
    took_s: float | None
    left_s: float | None
    waits_for: str = ""
    shares: Sequence[WorkerShare] = ()

    @property
    def shards(self) -> int:
        """The number of its shards."""
        return sum(share.shards for share in self.shares)

    @property
    def shards_ended(self) -> int:
        """How many of them have ended."""
        return sum(share.ended for share in self.shares)


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker, and whether it is alive."""

    worker: WorkerHeartbeat
    is_alive: bool
    silent_s: float


@dataclass(frozen=True, slots=True)
class JobsPage:
    """The jobs, the queues and the workers."""

    rows: list[JobRow]
    queues: list[workers.QueueFigures]
    workers: list[WorkerRow]
    backup: BackupAge
    state: str
    states: list[str]
    links: ListLinks
    url: str

    def serving(self, queue: str) -> int:
        """Return how many live workers take jobs of a queue."""
        return sum(row.is_alive and queue in row.worker.queues for row in self.workers)

    @property
    def has_unserved(self) -> bool:
        """Whether a job is waiting in a queue that no live worker serves."""
        served = {queue for row in self.workers if row.is_alive for queue in row.worker.queues}
        return any(figures.waiting and figures.queue not in served for figures in self.queues)


@dataclass(frozen=True, slots=True)
class JobPage:
    """One job with its attempts, newest first."""

    row: JobRow
    attempts: list[JobAttempt]
    helpers: list[Job]
    helps: Job | None
    by: str
    slug: str | None  # of the project under whose address the page is shown
    actions: list[str]

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, so that the page need not refresh."""
        return self.row.job.state in OVER_JOB_STATES

    def job_url(self, job_id: int) -> str:
        """Return the address of another job's page."""
        if self.slug is None:
            return addresses.path("jobs.show_one", job_id=job_id)
        return addresses.path("jobs.show_of_project", slug=self.slug, job_id=job_id)

    @property
    def live_url(self) -> str:
        """The address of the part that refreshes itself."""
        job_id = self.row.job.id
        if self.slug is None:
            return addresses.path("jobs.live_one", job_id=job_id)
        return addresses.path("jobs.live_of_project", slug=self.slug, job_id=job_id)

    def action_url(self, action: str) -> str:
        """Return the address that cancels, retries or stops the job."""
        job_id = self.row.job.id
        if self.slug is None:
            return addresses.path("jobs.act", job_id=job_id, action=action)
        return addresses.path("jobs.act_in_project", slug=self.slug, job_id=job_id, action=action)


@router.get("/jobs")
def show(
    request: Request,
    access: AdminAccess,
    state: Annotated[str, Query()] = "",
    sort: Sort = "",
    order: Direction = "",
    before: Before = "",
    value: Value = "",
) -> Response:
    """List the jobs, the queues and the workers."""
    wanted = list_orders.read(sort, order, before, value)
    return render(request, "jobs/page.html", _list(request, access.session, state, wanted))


@router.get("/jobs/live")
def live(
    request: Request,
    access: AdminAccess,
    state: Annotated[str, Query()] = "",
    sort: Sort = "",
    order: Direction = "",
    before: Before = "",
    value: Value = "",
) -> Response:
    """Return the part of the list that changes."""
    wanted = list_orders.read(sort, order, before, value)
    page = _list(request, access.session, state, wanted)
    return render(request, "jobs/_list.html", page, fragment=True)


@router.get("/jobs/{job_id}")
def show_one(request: Request, access: AdminAccess, job_id: RowId) -> Response:
    """Show one job."""
    return render(request, "jobs/job.html", _one(access.session, job_id))


@router.get("/jobs/{job_id}/live")
def live_one(request: Request, access: AdminAccess, job_id: RowId) -> Response:
    """Return the part of one job's page that changes."""
    return render(request, "jobs/_job.html", _one(access.session, job_id), fragment=True)


@router.post("/jobs/{job_id}/{action}")
def act(
    request: Request, access: AdminAccess, job_id: RowId, action: job_control.Action
) -> Response:
    """Cancel, retry or stop a job."""
    job_control.apply(access.session, job_id, action, actor_id=access.user.id)
    return redirect(
        request,
        addresses.path("jobs.show_one", job_id=job_id),
        notice=NOTICES[action].format(id=job_id),
    )


@router.get("/p/{slug}/jobs/{job_id}")
def show_of_project(request: Request, access: LeadAccess, job_id: RowId) -> Response:
    """Show one job of the project."""
    return render(request, "jobs/job.html", _one(access.session, job_id, access.project))


@router.get("/p/{slug}/jobs/{job_id}/live")
def live_of_project(request: Request, access: LeadAccess, job_id: RowId) -> Response:
    """Return the part of one job's page that changes."""
    page = _one(access.session, job_id, access.project)
    return render(request, "jobs/_job.html", page, fragment=True)


@router.post("/p/{slug}/jobs/{job_id}/{action}")
def act_in_project(
    request: Request, access: LeadAccess, job_id: RowId, action: job_control.Action
) -> Response:
    """Cancel, retry or stop a job of the project."""
    job_control.apply(
        access.session, job_id, action, actor_id=access.user.id, project_id=access.project.id
    )
    url = addresses.path("jobs.show_of_project", slug=access.project.slug, job_id=job_id)
    return redirect(request, url, notice=NOTICES[action].format(id=job_id))


def _list(request: Request, session: Session, state: str, order: ListOrder) -> JobsPage:
    moment = now(session)
    known = [str(known_state) for known_state in JobState]
    wanted = [state] if state in known else []
    listed = jobs.page(session, states=wanted, order=order, limit=PAGE_SIZE)
    names = _project_names(session, listed.rows)
    seen = [
        WorkerRow(
            worker,
            workers.is_alive(worker, moment),
            max((moment - worker.seen_at).total_seconds(), 0.0),
        )
        for worker in workers.listed(session)
    ]
    return JobsPage(
        rows=_rows(session, listed.rows, names, moment),
        queues=workers.queue_figures(session, QUEUES),
        workers=seen,
        backup=backups_taken.age(session, request.app.state.settings.backup_max_age_h),
        state=state,
        states=known,
        links=ListLinks(order, listed.next, {"state": state}),
        url=f"{addresses.path('jobs.live')}?{request.url.query}",
    )


def _one(session: Session, job_id: int, project: Project | None = None) -> JobPage:
    job = job_control.find(session, job_id, project_id=project.id if project else None)
    (row,) = _rows(session, [job], _project_names(session, [job]), now(session))
    return JobPage(
        row=row,
        attempts=jobs.attempts(session, job_id),
        helpers=shards.helpers_of(session, job_id),
        helps=None if job.helps_id is None else jobs.get(session, job.helps_id),
        by=accounts.user_name(session, job.created_by_id),
        slug=project.slug if project else None,
        actions=_actions(job),
    )


def _rows(
    session: Session, listed: list[Job], names: Mapping[int, str], moment: datetime
) -> list[JobRow]:
    waits = job_waits.reasons(session, listed)
    shares = shards.shares(session, [job.id for job in listed])
    return [
        replace(
            _row(job, names.get(job.project_id or 0, ""), moment),
            waits_for=waits.get(job.id, ""),
            shares=shares.get(job.id, ()),
        )
        for job in listed
    ]


def _row(job: Job, project: str, moment: datetime) -> JobRow:
    took_s = None
    if job.started_at is not None:
        end = job.ended_at or moment
        took_s = max((end - job.started_at).total_seconds(), 0.0)
    left_s = None
    if job.state == JobState.RUNNING and took_s and 0 < job.progress_done < job.progress_total:
        left_s = took_s * (job.progress_total - job.progress_done) / job.progress_done
    age_s = max((moment - job.created_at).total_seconds(), 0.0)
    return JobRow(job, project, age_s, took_s, left_s)


def _actions(job: Job) -> list[str]:
    if job.state == JobState.QUEUED:
        return ["cancel"]
    if job.state == JobState.RUNNING:
        return [] if job.cancel_requested else ["stop", "cancel"]
    return [] if job.state == JobState.SUCCEEDED else ["retry"]


def _project_names(session: Session, listed: list[Job]) -> dict[int, str]:
    ids = {job.project_id for job in listed if job.project_id is not None}
    return projects.names(session, ids)

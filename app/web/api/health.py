"""Health checks for monitoring: liveness, readiness, and Prometheus metrics from the database."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import queue as broker
from app.db import Database, now, schema
from app.services.jobs import backups_taken, workers
from app.services.judging import queue_progress
from app.web.deps import policy
from app.web.guarded_route import GuardedRoute
from app.web.openapi import files, problems

MIN_FREE_MIB: Final = 64
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"

State = Literal["ok", "degraded", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check that readiness depends on."""

    state: State
    message: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the server can handle requests, with the result of each check."""

    is_ready: bool
    checks: dict[str, Check]


@policy("public")
async def probe() -> None:
    """Allow anyone without authentication, because the database may be unreachable."""


router = APIRouter(tags=["health"], dependencies=[Depends(probe)], route_class=GuardedRoute)


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


@router.get("/livez")
async def alive() -> dict[str, str]:
    """Report that the process is alive, without checking anything else.

    It needs no thread: all of them may be at work.
    """
    return {"state": "ok"}


@router.get("/readyz", responses={503: {"model": Readiness, "description": "A check has failed."}})
def ready(request: Request, response: Response) -> Readiness:
    """Report whether requests can be handled; without Redis they can, but jobs start later."""
    checks = {
        "database": _check_database(_database(request)),
        "disk": _check_disk(request.app.state.settings.data_dir),
        "secret": _check_secret(request.app.state.secret),
        "broker": _check_broker(),
        "workers": _check_workers(_database(request)),
        "backup": _check_backup(_database(request), request.app.state.settings.backup_max_age_h),
    }
    is_ready = all(check.state != "failed" for check in checks.values())
    response.status_code = 200 if is_ready else 503
    return Readiness(is_ready, checks)


@router.get("/metrics", response_class=Response, responses=files(PROMETHEUS) | problems(503))
def metrics(database: Annotated[Database, Depends(_database)]) -> Response:
    """Return gauges and counters in the Prometheus text format."""
    with database.reader() as session:
        text = "\n".join(_gauges(session)) + "\n"
    return Response(text, media_type=PROMETHEUS)


def _check_database(database: Database) -> Check:
    try:
        if schema.is_current(database.engine):
            return Check("ok", "responding, migrations up to date")
        return Check("failed", "migrations are pending; run attune migrate")
    except SQLAlchemyError:
        return Check("failed", "not responding")


def _check_disk(folder: Path) -> Check:
    free_mib = shutil.disk_usage(folder).free // 2**20
    if free_mib < MIN_FREE_MIB:
        return Check("failed", f"{free_mib} MiB free, at least {MIN_FREE_MIB} needed")
    return Check("ok", f"{free_mib} MiB free")


def _check_secret(secret: bytes) -> Check:
    return Check("ok", "set") if len(secret) >= 32 else Check("failed", "shorter than 32 bytes")


def _check_broker() -> Check:
    answers: dict[bool | None, Check] = {
        None: Check("ok", "none configured; workers poll the database"),
        True: Check("ok", "responding"),
        False: Check("degraded", "not responding; jobs start later, but none is lost"),
    }
    return answers[broker.is_reachable()]


def _check_workers(database: Database) -> Check:
    """Name the queues that no live worker serves; pages and labeling need none."""
    try:
        with database.reader() as session:
            serving = workers.serving(session, broker.QUEUES)
    except SQLAlchemyError:
        return Check("degraded", "not known while the database is not responding")
    counts = ", ".join(f"{queue} {count}" for queue, count in serving.items())
    unserved = [queue for queue, count in serving.items() if not count]
    if unserved:
        names = " and ".join(unserved)
        return Check("degraded", f"none takes jobs of {names}, so these wait ({counts})")
    return Check("ok", f"live workers of each queue: {counts}")


def _check_backup(database: Database, most_h: int) -> Check:
    try:
        with database.reader() as session:
            newest = backups_taken.age(session, most_h)
    except SQLAlchemyError:
        return Check("degraded", "not known while the database is not responding")
    return Check("degraded" if newest.is_old else "ok", str(newest))


def _gauges(session: Session) -> Iterator[str]:
    figures = workers.queue_figures(session, broker.QUEUES)
    by_queue: list[tuple[str, str, Callable[[workers.QueueFigures], float]]] = [
        ("attune_jobs_waiting", "Jobs waiting in a queue.", lambda row: row.waiting),
        ("attune_jobs_running", "Jobs running.", lambda row: row.running),
        (
            "attune_oldest_waiting_seconds",
            "Age of the oldest waiting job.",
            lambda row: row.oldest_waiting_s,
        ),
    ]
    for name, text, read in by_queue:
        yield from _head(name, text)
        yield from (f'{name}{{queue="{row.queue}"}} {read(row):g}' for row in figures)
    yield from _head("attune_queue_workers", "Workers with a recent heartbeat that serve a queue.")
    serving = workers.serving(session, broker.QUEUES)
    yield from (f'attune_queue_workers{{queue="{queue}"}} {n}' for queue, n in serving.items())
    totals = workers.totals(session)
    yield from _head("attune_jobs", "Jobs by state.")
    yield from (
        f'attune_jobs{{state="{state}"}} {count}'
        for state, count in sorted(totals.by_state.items())
    )
    moment = now(session)
    alive_workers = sum(workers.is_alive(row, moment) for row in workers.listed(session))
    for name, text, value in _counters(totals):
        yield from _head(name, text, "counter")
        yield f"{name} {value}"
    plain = [
        ("attune_workers_alive", "Workers with a recent heartbeat.", alive_workers),
        (
            "attune_backup_age_seconds",
            "Age of the newest backup, or of the installation if there is none.",
            round(backups_taken.age(session, 0).age_s),
        ),
        ("attune_open_slots", "Judgments still wanted.", queue_progress.count_open_slots(session)),
    ]
    for name, text, value in plain:
        yield from _head(name, text)
        yield f"{name} {value}"


def _counters(totals: workers.JobTotals) -> list[tuple[str, str, int]]:
    """Return what never falls, except when a backup is restored."""
    return [
        ("attune_fenced_writes", "Writes rejected for an expired lease.", totals.fenced_writes),
        ("attune_leases_lost", "Leases that expired without a heartbeat.", totals.leases_lost),
        ("attune_job_failures", "Attempts of jobs that ended with an error.", totals.failures),
        ("attune_job_deaths", "Job processes that were killed or lost.", totals.deaths),
    ]


def _head(name: str, text: str, kind: str = "gauge") -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"

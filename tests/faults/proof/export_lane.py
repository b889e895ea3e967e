"""An export that is asked for while a policy trains: it has a worker of its own and does not wait.

The workers are those of `attune up` and of the compose file, one for each queue: on the embedded
default, and with PostgreSQL and Redis.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import select

from app import queue as broker
from app.bench import judged, process_use
from app.bench.seed import SLUG
from app.cli import processes
from app.db import Database, schema
from app.domain.reward_parts import PartKind, RewardPart
from app.models import Job, JobAttempt, Project
from app.services.datasets import exports
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.jobs import jobs
from app.services.rounds import rounds
from tests.faults import workers
from tests.faults.proof.rows import Outcome, Place
from tests.worker.runs import small

MOST_S = 30.0
PATIENCE_S = 900.0
SEEDED = 13_000  # comparisons, of which four in five are for training: 10,000 rows
FORMAT = "rich"
STEPS_BEFORE = 2


@dataclass(frozen=True, slots=True)
class Exported:
    """How long an export took, and what it used.

    Attributes:
        seconds: from the order until the file was ready.
        cpu_s: processor time of its process.
        rows: in the file.
        steps: that the policy took meanwhile.
    """

    seconds: float
    cpu_s: float
    rows: int
    steps: int


def measure(place: Place) -> Outcome:
    """Export during a PPO job, embedded and with Celery; the slower of both counts."""
    folder = place.room("lanes embedded")
    embedded = _export(f"sqlite:///{folder / 'attune.sqlite3'}", folder)
    with place.postgres.database() as url:
        celery = _export(url, place.room("lanes celery"), place.redis.url)
    slowest_s = max(embedded.seconds, celery.seconds)
    missed = f"{slowest_s - MOST_S:.0f} s too late" if slowest_s > MOST_S else ""
    return Outcome(
        "ready after "
        + " and ".join(
            f"{one.seconds:.1f} s ({how}; {one.cpu_s:.1f} s of a processor)"
            for how, one in (("embedded", embedded), ("Celery", celery))
        ),
        f"{embedded.rows:,} rows in the format {FORMAT}; the policy took {embedded.steps} and "
        f"{celery.steps} steps meanwhile",
        missed,
        {
            "embedded_s": round(embedded.seconds, 1),
            "embedded_cpu_s": round(embedded.cpu_s, 1),
            "celery_s": round(celery.seconds, 1),
            "celery_cpu_s": round(celery.cpu_s, 1),
        },
    )


def _export(url: str, folder: Path, broker_url: str = "") -> Exported:
    database = Database(url)
    with ExitStack() as stack:
        stack.callback(database.dispose)
        schema.upgrade(database.engine)
        judged.seed(database, SEEDED * judged.OVERLAP)
        policy = _train(database, folder)
        broker.configure(broker_url or None)
        stack.callback(broker.configure, None)
        stack.enter_context(_lanes(url, folder, broker_url))
        workers.until(lambda: _steps(database, policy) >= STEPS_BEFORE, "PPO", PATIENCE_S)
        exported = _timed(database, policy)
        if workers.read(database, policy).state != "running":
            raise AssertionError("the policy did not train while the export was written")
        with database.transaction() as session:
            jobs.cancel(session, policy, actor_id=None)
        return exported


def _train(database: Database, folder: Path) -> int:
    """Launch a round that trains a policy against a rule until it is cancelled."""
    rule = RewardPart(PartKind.LENGTH, 1.0, name="brevity", longest=4)
    plan = small.plan(
        sft=None,
        reward=replace(small.PLAN.reward, weight=0.0, parts=(rule,)),
        policy=replace(small.PLAN.policy, epochs=1000, save_every=1000, evaluate_every=1000),
    )
    base = small.save_tiny_llama(folder / "base")
    with database.transaction() as session:
        project = small.make_project(session, base_model=str(base), labelers=0)
        rounds.launch(session, project, plan, None)
        return session.scalars(select(Job.id).where(Job.kind == "policy")).one()


@contextmanager
def _lanes(url: str, folder: Path, broker_url: str) -> Iterator[None]:
    """Run the workers of `attune up`."""
    environment: Mapping[str, str] = {
        "ATTUNE_DATABASE_URL": url,
        "ATTUNE_BROKER_URL": broker_url,
        "ATTUNE_SECRET_KEY": "proof " * 8,
        "ATTUNE_DATA_DIR": str(folder),
        "ATTUNE_ALLOWED_BASE_MODELS": "*",
        "ATTUNE_LOG_LEVEL": "warning",
    }
    lanes = [
        processes.Child(
            name,
            [*lane, "--device", "cpu"],
            environment={name: value for name, value in environment.items() if value},
            log=folder / f"{name}.log",
        )
        for name, lane in processes.LANES.items()
    ]
    try:
        yield
    finally:
        for lane in lanes:
            lane.stop()


def _timed(database: Database, policy: int) -> Exported:
    steps, began_s = _steps(database, policy), time.monotonic()
    with database.transaction() as session:
        project = session.scalars(select(Project).where(Project.slug == SLUG)).one()
        options = ExportOptions()
        export = exports.create(
            session, project, format=FORMAT, options=options, created_by_id=None
        )
        job_id, number, project_id = export.job_id, export.number, project.id
    cpu_s = 0.0
    while time.monotonic() - began_s < PATIENCE_S:
        with database.reader() as session:
            row = exports.get(session, project_id, number)
            state, error = exports.state_of(session, row)
            pid = session.scalar(select(JobAttempt.pid).where(JobAttempt.job_id == job_id))
        if state == exports.FAILED:
            raise AssertionError(f"the export failed: {error}")
        if state == exports.READY:
            seconds = time.monotonic() - began_s
            return Exported(seconds, cpu_s, row.rows, _steps(database, policy) - steps)
        cpu_s = max(cpu_s, process_use.cpu_s(pid) if pid else 0.0)
        time.sleep(0.1)
    raise AssertionError(f"the export was not ready within {PATIENCE_S:g} s")


def _steps(database: Database, policy: int) -> int:
    job = workers.read(database, policy)
    if job.state == "failed":
        raise AssertionError(f"the policy failed: {job.error}")
    return job.progress_done

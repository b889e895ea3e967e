"""Jobs that are lost, or whose results are applied twice, whatever is killed at any moment.

Two workers, one with a broker and one that polls, run jobs that count, and exports which are asked
for over HTTP. At moments drawn from the seed, something is killed, frozen, emptied or filled. In
the end every job that was enqueued must have succeeded, and its result must be there once.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from app.bench import process_use
from app.bench.seed import SLUG
from app.cli import bench_setup
from app.cli.bench_setup import BenchServer
from app.client import Client, RequestRefused
from app.db import Database
from app.domain.states import OVER_JOB_STATES, JobState
from app.models import Export, Job, JobAttempt, SignInFailure
from app.services.jobs.job_leases import DEATHS_TO_QUARANTINE
from tests.faults import workers
from tests.faults.fake_runs import result_key
from tests.faults.proof import labeling_load, small_disk
from tests.faults.proof.labeling_load import Desk
from tests.faults.proof.own_servers import OwnPostgres, OwnRedis
from tests.faults.proof.rows import Outcome, Place, beyond_none, counted, own_postgres, own_redis
from tests.faults.workers import Began

KINDS = ("job", "supervisor", "web", "broker emptied", "database", "disk full", "zombie")
LABELERS = 3
QUEUED = 4  # jobs that wait or run while something is killed
STEPS, STEP_S = 4, 0.1
FROZEN_S = workers.QUICK.lease_s + 2.0
FULL_S = 1.0
SETTLE_S = 900.0
NOBODY_S = 20.0  # until nobody is found to be killed


@dataclass
class _Storm:
    """What runs, what has been enqueued, and what has been done to it."""

    postgres: OwnPostgres
    redis: OwnRedis
    database: Database
    server: BenchServer
    desk: Desk
    disk: Path
    running: list[Began]
    draw: random.Random
    job_ids: list[int] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    thawing: list[threading.Timer] = field(default_factory=list)
    ended_alone: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.address[1]}"

    def strike(self, kind: str) -> None:
        """Keep jobs coming, wait for a moment of the seed's choice, and do it."""
        self.replace_dead()
        self.fill()
        time.sleep(self.draw.uniform(0.0, 1.0))
        acts = {
            "job": self._kill_job,
            "supervisor": self._kill_supervisor,
            "web": self._kill_web,
            "broker emptied": lambda: self.redis.ask("FLUSHALL") == "+OK",
            "database": self._crash_database,
            "disk full": self._fill_disk,
            "zombie": self._freeze,
        }
        if acts[kind]():
            self.done[kind] += 1

    def replace_dead(self) -> None:
        """Start a worker anew whose process has ended, as a service manager does."""
        for worker in self.running:
            if worker.process.poll() is not None:
                worker.start()

    def fill(self) -> None:
        """Enqueue until enough jobs wait or run."""
        with self.database.reader() as session:
            waiting = select(func.count()).where(Job.state.not_in(OVER_JOB_STATES))
            missing = QUEUED - (session.scalar(waiting) or 0)
        for _ in range(missing):
            job_id = workers.enqueue(self.database, "steps", steps=STEPS, step_s=STEP_S)
            self.job_ids.append(job_id)

    def _victim(self) -> tuple[int, Began] | None:
        """Choose a job's process and its worker, among jobs that may die once more."""
        query = (
            select(JobAttempt.pid)
            .join(Job, Job.id == JobAttempt.job_id)
            .where(
                Job.state == JobState.RUNNING,
                Job.deaths < DEATHS_TO_QUARANTINE - 1,
                JobAttempt.lease_token == Job.lease_token,
                JobAttempt.pid.is_not(None),
            )
        )
        until = time.monotonic() + NOBODY_S
        while time.monotonic() < until:
            self.replace_dead()
            self.fill()
            with self.database.reader() as session:
                pids = set(session.scalars(query))
            found = [
                (pid, worker)
                for worker in self.running
                for pid in process_use.descendants(worker.process.pid)
                if pid in pids
            ]
            if found:
                return self.draw.choice(found)
            time.sleep(0.05)
        return None

    def _kill_job(self) -> bool:
        victim = self._victim()
        return victim is not None and _signal(signal.SIGKILL, victim[0])

    def _kill_supervisor(self) -> bool:
        victim = self._victim()
        return victim is not None and _signal(signal.SIGKILL, victim[1].process.pid)

    def _freeze(self) -> bool:
        """Stop a worker and its job for longer than the lease; another takes the job meanwhile."""
        victim = self._victim()
        if victim is None:
            return False
        pids = (victim[1].process.pid, victim[0])
        frozen = [_signal(signal.SIGSTOP, pid) for pid in pids]
        thaw = threading.Timer(FROZEN_S, lambda: [_signal(signal.SIGCONT, pid) for pid in pids])
        thaw.start()
        self.thawing.append(thaw)
        return all(frozen)

    def _kill_web(self) -> bool:
        """Kill the web process that is being asked for an export."""
        while not (pids := web_processes(self.server.pid)):
            time.sleep(0.05)
        pause_s = self.draw.uniform(0.0, 0.05)
        asking = threading.Thread(target=self._ask_for_export)
        asking.start()
        time.sleep(pause_s)
        killed = [_signal(signal.SIGKILL, pid) for pid in pids]
        asking.join()
        return all(killed)

    def _ask_for_export(self) -> None:
        with Client(self.address, self.desk.lead_token) as client:
            body = {"format": "rich"}
            with suppress(httpx.TransportError, RequestRefused):
                path = f"/projects/{SLUG}/exports"
                asked = client.request("POST", path, json=body, attempts=1)
                self.job_ids.append(asked.json()["job_id"])

    def _crash_database(self) -> bool:
        self.postgres.restart_after_crash()
        self.database.dispose()  # connections to the one that was stopped
        return True

    def _fill_disk(self) -> bool:
        with small_disk.filled(self.disk):
            time.sleep(FULL_S)
        return True

    def settle(self) -> int:
        """Let everything end, and return how many jobs have not."""
        for thaw in self.thawing:
            thaw.join()
        until = time.monotonic() + SETTLE_S
        query = select(func.count()).where(Job.state.not_in(OVER_JOB_STATES))
        unfinished = 1
        while unfinished and time.monotonic() < until:
            self.replace_dead()
            time.sleep(0.2)
            # Connections of ours may be to a database that was stopped.
            with suppress(OperationalError), self.database.reader() as session:
                unfinished = session.scalar(query) or 0
        return unfinished


def measure(place: Place) -> Outcome:
    """Kill at moments of the seed's choice, and look for every job and its result."""
    points = max(len(KINDS), place.scale.count(21, 1_050))  # each kind once at least
    draw = random.Random(f"jobs {place.scale.seed}")
    began_s = time.monotonic()
    with _storm(place, draw) as storm:
        can_fill = small_disk.is_possible()
        kinds = [kind for kind in KINDS if can_fill or kind != "disk full"]
        order = [kinds[n % len(kinds)] for n in range(points)]
        for kind in draw.sample(order, points):
            _strike(storm, kind)
        unfinished = storm.settle()
        account = account_of(storm.database, storm.job_ids)
    left_out = "" if can_fill else "; disk full was left out, which takes root"
    by_kind = ", ".join(f"{kind} {storm.done[kind]}" for kind in kinds)
    return Outcome(
        f"{len(account.lost)} of {len(storm.job_ids)} jobs lost, {account.twice} results applied "
        "twice",
        f"{counted(storm.done.total(), 'kill point')} ({by_kind}{left_out}), "
        f"{time.monotonic() - began_s:.0f} s",
        beyond_none(len(account.lost) + account.twice, "such job"),
        {
            "jobs": len(storm.job_ids),
            "lost": len(account.lost),
            "twice": account.twice,
            "unfinished": unfinished,
            "set_apart_after_three_deaths": account.apart,
            "first_lost": account.lost[0] if account.lost else "",
            **{f"kills: {kind}": count for kind, count in storm.done.items()},
        },
    )


def _strike(storm: _Storm, kind: str) -> None:
    with suppress(OperationalError):  # our own connection was to a database that is gone
        storm.strike(kind)


@contextmanager
def _storm(place: Place, draw: random.Random) -> Iterator[_Storm]:
    with ExitStack() as stack:
        postgres = stack.enter_context(own_postgres())
        redis = stack.enter_context(own_redis(place.room("jobs-redis")))
        url = stack.enter_context(postgres.database())
        desk = labeling_load.furnish(url, 30, LABELERS)
        extra = {"ATTUNE_BROKER_URL": redis.url}
        server = stack.enter_context(bench_setup.server(url, 2, extra))
        labelers = labeling_load.Labelers(
            f"http://127.0.0.1:{server.address[1]}", desk.tokens, place.scale.seed
        )
        with labelers.working():  # an export has to have something in it
            labelers.until(LABELERS, lambda _: True)
        own = place.room("jobs")
        disk = stack.enter_context(small_disk.mounted(own / "disk"))
        database = Database(url)
        stack.callback(database.dispose)
        running = [
            stack.enter_context(workers.Began(database, work, broker_url=broker, slow_poll_s=1.0))
            for work, broker in ((own, redis.url), (disk, ""))
        ]
        yield _Storm(postgres, redis, database, server, desk, disk, running, draw)


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the jobs: descriptions of the lost ones, and two counts."""

    lost: list[str]
    twice: int
    apart: int  # set apart after three deaths, as they have to be


def account_of(database: Database, job_ids: Sequence[int]) -> Account:
    """Look for every job that was enqueued and for its result."""
    with database.reader() as session:
        query = select(Job).where(Job.id.in_(job_ids))
        jobs = {job.id: job for job in session.scalars(query)}
        results = Counter(session.scalars(select(SignInFailure.key_hash)))
        exports = set(session.scalars(select(Export.job_id).where(Export.state == "ready")))
    lost = []
    twice = apart = 0
    for job_id in job_ids:
        job, written = jobs.get(job_id), results[result_key(job_id)]
        twice += written > 1
        if job is None:
            lost.append(f"job {job_id} is not there")
        elif job.state == JobState.QUARANTINED and job.deaths >= DEATHS_TO_QUARANTINE:
            apart += 1
        elif job.state != JobState.SUCCEEDED:
            lost.append(f"job {job_id} ({job.kind}) {job.state} after {job.attempts}: {job.error}")
        elif not written and job_id not in exports:
            lost.append(f"job {job_id} ({job.kind}) succeeded without a result")
    return Account(lost, twice, apart)


def web_processes(server_pid: int) -> list[int]:
    """Return the processes that answer requests, once they have been started."""
    return [
        pid
        for pid in process_use.descendants(server_pid)
        if " serve --fd " in process_use.command(pid)
    ]


def _signal(number: signal.Signals, pid: int) -> bool:
    """Send a signal; return whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True

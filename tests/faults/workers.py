"""Workers for fault tests: real processes on short leases, and ways to wait without guessing.

`python -m tests.faults.workers DATABASE WORK [BROKER [SLOW_POLL_S [CHILD [usual]]]]` runs one until
it is told to end; CHILD is the module that runs its jobs, and with `usual` the leases and intervals
are those of the settings.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from app import queue as broker
from app.db import Database
from app.domain.states import OVER_JOB_STATES
from app.models import Job, JobAttempt, SignInFailure
from app.services.jobs import jobs
from tests.faults.fake_runs import result_key
from worker import main
from worker.heart import Timing
from worker.supervisor import Supervisor
from worker.ticket import Places

PATIENCE_S = 60.0
CHILD = "tests.faults.fake_runs"
QUICK = Timing(
    lease_s=3.0,
    heartbeat_s=0.3,
    sweep_s=0.3,
    look_s=0.1,
    grace_s=2.0,
    poll_s=0.05,
    slow_poll_s=300.0,
    wake_s=0.5,
)


def supervisor(
    database: Database,
    work: Path,
    name: str = "",
    timing: Timing = QUICK,
    child: str = CHILD,
) -> Supervisor:
    places = Places(str(work / "artifacts"), work, "cpu")
    command = (sys.executable, "-m", child)
    return Supervisor(database, places, timing=timing, child=command, name=name)


@dataclass
class Began:
    """A worker process that can be started again; at the end it is killed with what it started.

    Args:
        command: put before the command, such as one that enters a network namespace.
        usual: whether leases and intervals are those of the settings instead of short ones.
        child: the module that runs its jobs.
    """

    database: Database
    work: Path
    broker_url: str = ""
    slow_poll_s: float = QUICK.slow_poll_s
    command: tuple[str, ...] = ()
    usual: bool = False
    child: str = CHILD
    process: "subprocess.Popen[str]" = field(init=False)

    def __enter__(self) -> "Began":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Start the process, whose output goes to a file of its own."""
        url = self.database.engine.url.render_as_string(hide_password=False)
        arguments = (url, str(self.work), self.broker_url, str(self.slow_poll_s), self.child)
        with (self.work / f"worker-{time.monotonic_ns()}.log").open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *self.command,
                    *(sys.executable, "-m", "tests.faults.workers", *arguments),
                    *(["usual"] if self.usual else []),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )


@contextmanager
def worker(
    database: Database, work: Path, broker_url: str = "", slow_poll_s: float = QUICK.slow_poll_s
) -> Iterator["subprocess.Popen[str]"]:
    """Run a worker process; at the end kill it and the processes that it started."""
    with Began(database, work, broker_url, slow_poll_s) as began:
        yield began.process


def enqueue(database: Database, kind: str, **payload: Any) -> int:
    with database.transaction() as session:
        return jobs.enqueue(session, kind=kind, queue="cpu", payload=payload).id


def read(database: Database, job_id: int) -> Job:
    with database.reader() as session:
        return jobs.get(session, job_id)


def attempts(database: Database, job_id: int) -> list[JobAttempt]:
    with database.reader() as session:
        return jobs.attempts(session, job_id)


def results(database: Database, job_id: int) -> int:
    """Count the results that the job wrote."""
    with database.reader() as session:
        query = select(func.count()).where(SignInFailure.key_hash == result_key(job_id))
        return session.scalar(query) or 0


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for the condition; fail after a minute, naming what did not happen."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {patience_s:g} s")
        time.sleep(0.05)


def until_over(database: Database, job_id: int, patience_s: float = PATIENCE_S) -> Job:
    what = f"the end of job {job_id}"
    until(lambda: read(database, job_id).state in OVER_JOB_STATES, what, patience_s)
    return read(database, job_id)


def until_progress(
    database: Database, job_id: int, done: int = 1, patience_s: float = PATIENCE_S
) -> None:
    what = f"progress of job {job_id}"
    until(lambda: read(database, job_id).progress_done >= done, what, patience_s)


def child_pid(database: Database, job_id: int) -> int:
    """Return the process of the newest attempt, once its supervisor has recorded it."""
    found: list[int] = []

    def look() -> bool:
        pids = [attempt.pid for attempt in attempts(database, job_id)][:1]
        found[:] = [pid for pid in pids if pid is not None]
        return bool(found)

    until(look, f"the process of job {job_id}")
    return found[0]


def freeze(database: Database, *pids: int) -> None:
    """Stop processes, but not while they hold SQLite's only lock, which would block everything."""
    while True:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        if _is_writable(database):
            return
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)


def _is_writable(database: Database) -> bool:
    if database.engine.dialect.name != "sqlite":
        return True
    with closing(sqlite3.connect(str(database.engine.url.database), timeout=0.2)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


def is_alive(pid: int) -> bool:
    """Whether the process is running; a zombie that has not been reaped is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _main(
    database_url: str,
    work: str,
    broker_url: str = "",
    slow_poll_s: str = "300",
    child: str = CHILD,
    usual: str = "",
) -> None:
    broker.configure(broker_url or None)
    database = Database(main.impatient(database_url), pool_size=4)
    timing = Timing() if usual else QUICK
    timing = replace(timing, slow_poll_s=float(slow_poll_s))
    found = supervisor(database, Path(work), timing=timing, child=child)
    if broker_url:
        main.consume(found, broker_url)
        return
    signal.signal(signal.SIGTERM, lambda _signal, _frame: found.stop())
    with main.sweeping(found):
        found.poll()


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""How long it takes until a dead worker is noticed and its job runs on another one.

Leases, heartbeats and sweeps are those of the settings, so this row mostly waits.
"""

import os
import random
import signal
import time
from contextlib import ExitStack

from app.bench import process_use
from app.db import Database, schema
from tests.faults import workers
from tests.faults.proof.rows import Outcome, Place, counted
from tests.faults.workers import Began

MOST_S = 75.0
BEAT_S = 10.0


def measure(place: Place) -> Outcome:
    """Kill the worker that has the job, at a random moment between two heartbeats."""
    deaths = place.scale.count(1, 10)
    draw = random.Random(f"dead {place.scale.seed}")
    folder = place.room("dead worker")
    database = Database(f"sqlite:///{folder / 'attune.sqlite3'}")
    schema.upgrade(database.engine)
    seconds = []
    with ExitStack() as stack:
        stack.callback(database.dispose)
        running = [stack.enter_context(Began(database, folder, usual=True)) for _ in range(2)]
        for number in range(deaths):
            flag, started = folder / f"flag-{number}", folder / f"started-{number}"
            job_id = workers.enqueue(database, "patient", flag=str(flag), started=str(started))
            workers.until(started.exists, "the start of the job")
            victim = _worker_of(running, int(started.read_text()))
            time.sleep(draw.uniform(0.0, BEAT_S))
            seconds.append(_until_taken_over(database, job_id, victim))
            flag.touch()
            job = workers.until_over(database, job_id)
            if (job.state, workers.results(database, job_id)) != ("succeeded", 1):
                raise AssertionError(f"job {job_id} is {job.state} after its worker died")
            victim.process.wait()
            victim.start()
    slowest = max(seconds)
    return Outcome(
        f"at most {slowest:.0f} s until the job runs on another worker",
        f"{counted(deaths, 'worker')} killed in the middle of a job, leases and "
        "intervals as set by default",
        f"{slowest - MOST_S:.0f} s too late" if slowest > MOST_S else "",
        {"deaths": deaths, "slowest_s": round(slowest, 1)},
    )


def _worker_of(running: list[Began], child_pid: int) -> Began:
    (found,) = [
        worker
        for worker in running
        if child_pid in set(process_use.descendants(worker.process.pid))
    ]
    return found


def _until_taken_over(database: Database, job_id: int, victim: Began) -> float:
    os.kill(victim.process.pid, signal.SIGKILL)
    killed_s = time.monotonic()
    while workers.read(database, job_id).lease_token < 2:
        if time.monotonic() - killed_s > 10 * MOST_S:
            raise AssertionError(f"nobody took job {job_id} over within {10 * MOST_S:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - killed_s

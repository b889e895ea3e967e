"""Job runs for tests, started as `python -m tests.faults.fake_runs JOB LEASE`.

Each succeeds by writing a comparison-free, countable row: a `SignInFailure` stands in for whatever
a real run writes, because it has no parents and its key names the job.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from app.db import now
from app.models import SignInFailure
from worker import runs
from worker.runs import Run
from worker.runs.process import job_process, transactions
from worker.runs.process.job_context import JobContext


def result_key(job_id: int) -> str:
    return f"result of job {job_id}"


def _succeed(context: JobContext) -> None:
    def write(session: Session) -> dict[str, int]:
        session.add(SignInFailure(key_hash=result_key(context.job_id), at=now(session)))
        return {"lease": context.lease_token}

    context.succeed(write)


def quick(context: JobContext) -> None:
    context.metrics(1, {"loss": 0.5, "broken": float("nan")})
    context.report(1, 1, "done")
    _succeed(context)


def _write_count(count: int, folder: Path) -> None:
    (folder / "count").write_text(str(count))


def steps(context: JobContext) -> None:
    """Count slowly in states on disk; resume from the newest state."""
    total = int(context.payload["steps"])
    state = context.newest_state()
    done = int((state / "count").read_text()) if state is not None else 0
    while done < total:
        if (order := context.should_stop()) is not None and order != "stop_here":
            return
        if order == "stop_here":
            break
        time.sleep(float(context.payload["step_s"]))
        done += 1
        context.save_state(done, partial(_write_count, done))
        context.report(done, total, f"step {done}")
    sys.stdout.write(f"counted to {done}\n")
    _succeed(context)


def storing(context: JobContext) -> None:
    """Store a row at each step in a transaction of its own, as a run stores completions."""
    total = int(context.payload["steps"])
    for done in range(total):
        time.sleep(float(context.payload["step_s"]))
        with transactions.transaction(context) as session:
            key = f"row {done} of job {context.job_id}"
            session.add(SignInFailure(key_hash=key, at=now(session)))
        context.report(done + 1, total)
    _succeed(context)


def stubborn(context: JobContext) -> None:
    """Ignore all orders."""
    time.sleep(float(context.payload.get("seconds", 60)))
    _succeed(context)


def suicidal(context: JobContext) -> None:
    sys.stdout.write("last words\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def wrong(context: JobContext) -> None:
    raise ValueError("seven is not a colour")


def full_disk(context: JobContext) -> None:
    raise OSError(28, "No space left on device")


def forgetful(context: JobContext) -> None:
    """Exit without reporting anything."""


def patient(context: JobContext) -> None:
    """Ignore orders, wait for a file, then succeed: a zombie that wakes up."""
    flag = Path(str(context.payload["flag"]))
    Path(str(context.payload["started"])).write_text(str(os.getpid()))
    while not flag.exists():
        time.sleep(0.02)
    _succeed(context)


def environment(context: JobContext) -> None:
    names = sorted(name for name in os.environ if name.startswith("ATTUNE_"))
    is_leader = os.getsid(0) == os.getpid()
    context.succeed(lambda _session: {"names": names, "is_leader": is_leader})


RUNS: dict[str, Run] = {
    "environment": environment,
    "forgetful": forgetful,
    "full_disk": full_disk,
    "patient": patient,
    "quick": quick,
    "steps": steps,
    "storing": storing,
    "stubborn": stubborn,
    "suicidal": suicidal,
    "wrong": wrong,
}


def find(kind: str) -> Run:
    """Return the run of a kind for tests, or else of a kind of the product."""
    return RUNS[kind] if kind in RUNS else runs.find(kind)


if __name__ == "__main__":
    sys.exit(job_process.main(find))

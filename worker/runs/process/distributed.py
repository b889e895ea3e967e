"""One of several processes that train in one job, started by torchrun under a supervisor.

The first has the supervisor's pipe: it reads the ticket and the orders, and it alone writes rows
and files. The others compute what it computes, on what it read, and end when it does.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from app.db import Database
from app.errors import Invalid
from worker import artifacts
from worker.launcher import USES_CPU
from worker.orders import Orders
from worker.rlhf.core.parallel import Team
from worker.runs import Run, find
from worker.runs.process import job_process
from worker.runs.process.job_context import JobContext, KeptSample
from worker.ticket import Ticket


class Follower(JobContext):
    """A job seen from a process that is not its first: it writes nothing, and has no orders."""

    @property
    def workdir(self) -> Path:
        """A local folder beside the first process's files."""
        folder = super().workdir / f"process-{os.environ['RANK']}"
        folder.mkdir(exist_ok=True)
        return folder

    def newest_state(self) -> Path | None:
        """Return what the first process saved."""
        return artifacts.newest_state(super().workdir)

    def report(self, done: int, total: int, note: str = "") -> None:
        """Leave that to the first process."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Leave that to the first process."""

    def samples(self, step: int, samples: Iterable[KeptSample]) -> None:
        """Leave that to the first process."""

    def flush(self) -> None:
        """Leave that to the first process."""

    def save_state(self, step: int, write: artifacts.Write) -> Path:
        """Leave that to the first process."""
        return self.workdir

    def leave_team(self) -> None:
        """End the connections: this process's work is done."""
        super().leave_team()
        self.is_over = True

    def say(self, text: str) -> None:
        """Leave that to the first process."""

    def fail(self, error: str, *, is_transient: bool) -> None:
        """End; the first process hears of it by losing its peer."""
        self.is_over = True

    def interrupt(self) -> None:
        """End, as the first process was asked to."""
        self.is_over = True


def main(find: Callable[[str], Run] = find) -> int:
    """Run this process's part of the job whose ticket the first reads; return the exit status."""
    job_process.die_with(os.getppid())
    orders = Orders()
    is_first = os.environ["RANK"] == "0"
    # A launcher that is told to end tells all: the others have to go on until the first has saved.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: orders.give("preempt"))
    too_many = _too_many()
    if too_many:
        return _refuse(too_many, orders) if is_first else 0
    team = Team.launched(cpu=os.environ.get(USES_CPU) == "true")
    ticket = Ticket.from_line(team.once(sys.stdin.readline))
    if is_first:
        job_process.listen_to(orders)
    return job_process.run(_context(ticket, orders, team), find)


def _context(ticket: Ticket, orders: Orders, team: Team) -> JobContext:
    made = job_process.make_context(ticket, orders) if team.is_first else _follower(ticket)
    made.join(team)
    return made


def _follower(ticket: Ticket) -> Follower:
    return Follower(
        Database(ticket.database_url, pool_size=1),
        ticket.claimed,
        store=artifacts.Artifacts(ticket.places.artifacts, ticket.places.work / "cache"),
        work_root=ticket.places.work,
    )


def _too_many() -> str:
    wanted, there = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if os.environ.get(USES_CPU) == "true" or not 0 < there < wanted:
        return ""
    return f"{wanted} processes need a GPU each, and there are {there}; see ATTUNE_JOB_PROCESSES"


def _refuse(reason: str, orders: Orders) -> int:
    def refuse(_context: JobContext) -> None:
        raise Invalid(reason)

    ticket = Ticket.from_line(sys.stdin.readline())
    return job_process.run(job_process.make_context(ticket, orders), lambda _kind: refuse)

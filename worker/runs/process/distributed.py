"""One of several processes that train in one job, started by torchrun under a supervisor.

The first has the supervisor's pipe: it reads the ticket and the orders, and only it writes rows and
files. The others compute their share of each batch from the same data, and end when it does.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from app.db import Database
from app.errors import Invalid
from worker import artifacts
from worker.launcher import JOINS, USES_CPU
from worker.orders import Orders
from worker.rlhf.core.parallel import Team
from worker.runs import Run, find
from worker.runs.process import job_process
from worker.runs.process.job_context import JobContext, KeptSample
from worker.ticket import Ticket


class Follower(JobContext):
    """The context in a process that is not the first: it writes nothing and takes no orders."""

    @property
    def workdir(self) -> Path:
        """A local folder beside the first process's files."""
        folder = super().workdir / f"process-{os.environ['RANK']}"
        folder.mkdir(exist_ok=True)
        return folder

    def newest_state(self) -> Path | None:
        """Return the newest training state of the first process."""
        return artifacts.newest_state(super().workdir)

    def report(self, done: int, total: int, note: str = "") -> None:
        """Do nothing: the first process does this."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Do nothing: the first process does this."""

    def samples(self, step: int, samples: Iterable[KeptSample]) -> None:
        """Do nothing: the first process does this."""

    def flush(self) -> None:
        """Do nothing: the first process does this."""

    def save_state(self, step: int, write: artifacts.Write) -> Path:
        """Do nothing: the first process does this."""
        return self.workdir

    def leave_team(self) -> None:
        """End the connections; this process's work is done."""
        super().leave_team()
        self.is_over = True

    def say(self, text: str) -> None:
        """Do nothing: the first process does this."""

    def fail(self, error: str, *, is_transient: bool) -> None:
        """End; the first process detects the lost peer."""
        self.is_over = True

    def interrupt(self) -> None:
        """End, like the first process."""
        self.is_over = True


def main(find: Callable[[str], Run] = find) -> int:
    """Run this process's part of the job whose ticket the first reads; return the exit status."""
    job_process.die_with(os.getppid())
    orders = Orders()
    # On several hosts the launcher's ranks do not say where the pipe is.
    is_first = os.environ["LOCAL_RANK"] == "0" and JOINS not in os.environ
    # torchrun forwards SIGTERM to all: the others must continue until the first has saved.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: orders.give("preempt"))
    too_many = _too_many()
    if too_many:
        return _refuse(too_many, orders) if is_first else 0
    team = Team.launched(cpu=os.environ.get(USES_CPU) == "true", leads=is_first)
    ticket = Ticket.from_line(team.once(sys.stdin.readline))
    if is_first:
        job_process.listen_to(orders)
    context = _context(ticket, orders, team)
    if team.size > int(os.environ["LOCAL_WORLD_SIZE"]):
        apart = _hosts_apart(team, context)
        if apart:
            return _fail(context, apart) if is_first else 0
        _say_unasked(context)
    return job_process.run(context, find)


def _hosts_apart(team: Team, context: JobContext) -> str:
    """Return why the hosts of a group cannot share the job, if they do not share its folder."""
    marked = team.once(lambda: _marked(context.workdir))
    hosts = team.gather([] if marked.exists() else [socket.gethostname()])
    if not hosts:
        return ""
    return (
        f"the hosts {', '.join(sorted(set(hosts)))} do not see {marked.parent}: all hosts of a "
        "group need ATTUNE_DATA_DIR in a file system that they share"
    )


def _say_unasked(context: JobContext) -> None:
    asked = context.payload.get("processes")
    if asked:
        context.say(
            f"processes = {asked} of the plan is ignored: in a group of hosts each runs "
            f"{os.environ['LOCAL_WORLD_SIZE']} (ATTUNE_JOB_PROCESSES)."
        )


def _marked(folder: Path) -> Path:
    mark = folder / "hosts"
    mark.write_text(socket.gethostname(), encoding="utf-8")
    return mark


def _context(ticket: Ticket, orders: Orders, team: Team) -> JobContext:
    context = job_process.make_context(ticket, orders) if team.is_first else _follower(ticket)
    context.join(team)
    return context


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
    return f"{wanted} processes need a GPU each, but there are {there}; see ATTUNE_JOB_PROCESSES"


def _refuse(reason: str, orders: Orders) -> int:
    ticket = Ticket.from_line(sys.stdin.readline())
    return _fail(job_process.make_context(ticket, orders), reason)


def _fail(context: JobContext, reason: str) -> int:
    def refuse(_context: JobContext) -> None:
        raise Invalid(reason)

    return job_process.run(context, lambda _kind: refuse)

"""The process of one job: reads its ticket, obeys orders, runs, and records how it ended.

It ends with its supervisor: through PR_SET_PDEATHSIG on Linux, and everywhere at the end of the
pipe.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import get_args

import structlog
from sqlalchemy.orm import Session

from app import parent_process
from app.db import Database
from app.errors import LeaseLost
from worker.artifacts import Artifacts
from worker.loading import NICENESS
from worker.orders import Interrupted, Order, Orders
from worker.runs import Run, find
from worker.runs.process import failures
from worker.runs.process.job_context import JobContext
from worker.ticket import EXIT_FENCED, EXIT_ORPHANED, Ticket

log = structlog.get_logger(__name__)

_ON_ROWS = ("export", "import")  # they compete with the pages of the same machine


def main(find: Callable[[str], Run] = find) -> int:
    """Run the job whose ticket comes on standard input; return the exit status."""
    ticket = Ticket.from_line(sys.stdin.readline())
    orders = Orders()
    die_with(ticket.supervisor_pid)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: orders.give("preempt"))
    listen_to(orders)
    with structlog.contextvars.bound_contextvars(job=ticket.claimed.job_id):
        context = make_context(ticket, orders)
        give_way(context)
        return run(context, find)


def make_context(ticket: Ticket, orders: Orders) -> JobContext:
    """Make the run's context from its ticket."""
    return JobContext(
        Database(ticket.database_url, pool_size=2),
        ticket.claimed,
        store=Artifacts(ticket.places.artifacts, ticket.places.work / "cache"),
        work_root=ticket.places.work,
        device=ticket.places.device,
        advance=_advance,
        orders=orders,
        servers=ticket.places.servers,
        judges=ticket.places.judges,
        allowed_models=ticket.places.allowed_models,
    )


def give_way(context: JobContext) -> None:
    """Let pages have the processor first while rows are read or stored.

    Not on SQLite, where a process that waits for the processor may hold a lock that labelers wait
    for, also while it only reads.
    """
    is_apart = context.database.engine.dialect.name == "postgresql"
    if is_apart and context.kind in _ON_ROWS and hasattr(os, "nice"):
        os.nice(NICENESS)


def _advance(session: Session, round_id: int) -> object:
    # Loaded only for jobs of a round: with it come the statistics that decide what is next.
    return import_module("app.services.rounds.rounds").advance(session, round_id)


def run(context: JobContext, find: Callable[[str], Run]) -> int:
    """Run the job until it succeeds, fails, is requeued or canceled, or loses its lease."""
    try:
        find(context.kind)(context)
        if not context.is_over:
            _end_unfinished(context)
    except LeaseLost as error:
        log.warning("fenced", reason=str(error))
        return EXIT_FENCED
    except Interrupted:
        context.interrupt()
    except Exception as error:
        context.fail(failures.describe(error), is_transient=failures.is_transient(error))
        raise
    return 0


def _end_unfinished(context: JobContext) -> None:
    if context.should_stop() in {"cancel", "preempt"}:
        context.interrupt()
        return
    context.fail(f"the {context.kind} run ended without a result", is_transient=False)


def listen_to(orders: Orders) -> None:
    """Take orders from standard input; its end means that the supervisor is gone."""
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()


def _listen(orders: Orders) -> None:
    for line in sys.stdin:
        order: Order = line.strip()  # type: ignore[assignment]
        if order in get_args(Order):
            orders.give(order)
    os._exit(EXIT_ORPHANED)


def die_with(parent_pid: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends."""
    if sys.platform != "linux":
        return
    parent_process.signal_at_death(signal.SIGKILL)
    if os.getppid() != parent_pid:  # it ended before the call
        os._exit(EXIT_ORPHANED)

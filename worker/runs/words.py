"""Indexes the words of imported texts, a piece at a time, so that searches find them.

The texts lie in a backlog that any worker may work off; a job that ends early loses nothing. Other
jobs of the queue go first, and while another worker imports a file, which people wait for, a piece
is followed by a long rest.
"""

import time
from typing import Final

from app.services.datasets import import_jobs, imports
from app.services.jobs import job_helpers
from app.services.project import word_backlog
from worker.orders import Interrupted
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext

BESIDE_IMPORTS: Final = "slower while a file is imported"

_REST_S: Final = 3.0
_LOOK_S: Final = 0.25


def run(context: JobContext) -> None:
    """Work off the backlog; the payload names the import that asked for it."""
    with context.database.reader() as session:
        total = word_backlog.waiting(session)
    count = 0
    for indexed in imports.index_words(lambda: transactions.transaction(context)):
        count += indexed
        total = max(total, count)  # more may come in meanwhile
        note, rests = f"{count:,} texts made searchable", _should_rest(context)
        context.report(count, total, f"{note}, {BESIDE_IMPORTS}" if rests else note)
        until_s = time.monotonic() + (_REST_S if rests else 0.0)
        _make_room(context)
        while time.monotonic() < until_s and _should_rest(context):
            time.sleep(_LOOK_S)
            _make_room(context)
    context.succeed(lambda _session: {"texts": count})


def _make_room(context: JobContext) -> None:
    """Return to the queue if another job waits for this worker, or end if that is asked for."""
    if context.should_stop() in {"cancel", "preempt"}:
        raise Interrupted(f"job {context.job_id} was asked to stop")
    with context.database.reader() as session:
        is_wanted = job_helpers.is_wanted_elsewhere(session, context.job_id)
    if is_wanted:
        raise Interrupted(f"job {context.job_id} makes room for a job that waits")


def _should_rest(context: JobContext) -> bool:
    with context.database.reader() as session:
        return import_jobs.is_any_running(session)

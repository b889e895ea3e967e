"""Indexes the words of imported texts, a piece at a time, so that searches find them.

The texts lie in a backlog that any worker may work off; a job that ends early loses nothing. While
a file is being imported, which people wait for, a piece is followed by a long rest.
"""

import time
from typing import Final

from app.services.datasets import import_jobs, imports
from app.services.jobs import job_leases
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
        _heed(context)
        while time.monotonic() < until_s and _should_rest(context):
            time.sleep(_LOOK_S)
            _heed(context)
    context.succeed(lambda _session: {"texts": count})


def _heed(context: JobContext) -> None:
    if context.should_stop() in {"cancel", "preempt"}:
        raise Interrupted(f"job {context.job_id} was asked to stop")


def _should_rest(context: JobContext) -> bool:
    """Return whether an import runs; not if other jobs wait for this one's place in the queue."""
    with context.database.reader() as session:
        if not import_jobs.is_any_running(session):
            return False
        return not job_leases.has_runnable(session, [import_jobs.QUEUE])

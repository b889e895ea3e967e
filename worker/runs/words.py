"""Indexes the words of imported texts, a piece at a time, so that searches find them.

The texts lie in a backlog that any worker may work off; a job that ends early loses nothing. Other
jobs of the queue go first, and while another worker imports a file, which people wait for, a piece
is followed by a long rest.
"""

import time
from typing import Final

from app.services.datasets import import_jobs, imports
from app.services.project import word_backlog
from worker.runs.process import making_room, shard_work, transactions
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
        _go_on(context)
        while time.monotonic() < until_s and _should_rest(context):
            time.sleep(_LOOK_S)
            _go_on(context)
    context.succeed(lambda _session: {"texts": count})


def _go_on(context: JobContext) -> None:
    """Pass, unless the job was asked to stop or another one waits for this worker."""
    shard_work.obey(context)
    making_room.make_room(context)


def _should_rest(context: JobContext) -> bool:
    with context.database.reader() as session:
        return import_jobs.is_any_running(session)

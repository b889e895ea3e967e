"""Indexes the words of imported texts, a piece at a time, so that searches find them.

The texts lie in a backlog that any worker may work off; a job that ends early loses nothing.
"""

from app.services.datasets import imports
from app.services.project import word_backlog
from worker.orders import Interrupted
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext


def run(context: JobContext) -> None:
    """Work off the backlog; the payload names the import that asked for it."""
    with context.database.reader() as session:
        total = word_backlog.waiting(session)
    count = 0
    for indexed in imports.index_words(lambda: transactions.transaction(context)):
        count += indexed
        total = max(total, count)  # more may come in meanwhile
        context.report(count, total, f"{count:,} texts made searchable")
        if context.should_stop() in {"cancel", "preempt"}:
            raise Interrupted(f"job {context.job_id} was asked to stop")
    context.succeed(lambda _session: {"texts": count})

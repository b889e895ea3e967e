"""Imports a large upload, a batch at a time, each in a transaction under the job's lease.

The import service decides what a row becomes. The position in the file and the counts are committed
with each batch, so an attempt that resumes continues there and counts nothing twice.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from app.formats import registry
from app.models import ImportJob
from app.services.datasets import dedicated_process, import_jobs, imports
from app.services.datasets.labelers_at_work import BESIDE_LABELERS
from worker.orders import Interrupted
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext


def run(context: JobContext) -> None:
    """Import the upload that the payload names by `import_id`."""
    started_s = time.monotonic()
    dedicated_process.adapt()
    import_id = int(context.payload["import_id"])
    with context.database.reader() as session:
        import_run, tally = import_jobs.resume(session, import_id)
        size = session.get_one(ImportJob, import_id).bytes
    upload = _Upload(context, import_id)

    @contextmanager
    def transaction() -> Iterator[Session]:
        with transactions.transaction(context) as session:
            yield session
            import_jobs.record_progress(session, import_id, tally)

    mapping = context.payload.get("mapping")
    labelers = imports.look_through(
        lambda: _Upload(context, import_id).chunks(),
        context.database.reader,
        import_run,
        tally,
        mapping,
        context.payload.get("same_labelers"),
    )
    notes: list[str] = []
    outcomes = registry.outcomes(
        upload.chunks(),
        import_run.format,
        mapping=mapping,
        notes=notes,
        labelers=labelers,
        member_splits=context.payload.get("member_splits"),
    )
    for rests in imports.store_batches(
        outcomes, transaction, import_run, tally, notes, words_later=True
    ):
        note = f"{tally.rows:,} rows read"
        context.report(upload.bytes_read, size, f"{note}, {BESIDE_LABELERS}" if rests else note)
        _heed(context)

    def finish(session: Session) -> Mapping[str, Any]:
        finished = import_jobs.finish(session, import_id, tally)
        seconds = round(time.monotonic() - started_s, 3)
        return {"import_id": import_id, "counts": finished.counts, "seconds": seconds}

    context.report(size, size, f"{tally.rows:,} rows read")
    context.succeed(finish)


def _heed(context: JobContext) -> None:
    if context.should_stop() in {"cancel", "preempt"}:
        raise Interrupted(f"job {context.job_id} was asked to stop")


class _Upload:
    """A stored upload, read chunk by chunk in short sessions."""

    def __init__(self, context: JobContext, import_id: int) -> None:
        self.bytes_read = 0
        self._context = context
        self._import_id = import_id

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks of the file in order."""
        n = 0
        while (data := self._chunk(n)) is not None:
            self.bytes_read += len(data)
            yield data
            n += 1

    def _chunk(self, n: int) -> bytes | None:
        with self._context.database.reader() as session:
            return import_jobs.chunk(session, self._import_id, n)

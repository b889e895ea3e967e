"""Takes a large file in, some records at a time, each lot in a transaction of its own.

What a record becomes is the import service's business. It knows everything by its content, so an
attempt that starts again at the top of the file adds nothing twice.
"""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from app.db import now
from app.formats import registry
from app.formats.records import Rejected
from app.models import ImportRun, Project
from app.services.datasets import imports
from app.services.datasets.imports import Numbered, Tally
from app.services.people import audit
from worker.orders import Interrupted
from worker.runs.process import transactions
from worker.runs.process.job_context import JobContext

CHUNK_BYTES = 1 << 16


def run(context: JobContext) -> None:
    """Import the file that the payload names by `path`, with its `filename` and maybe `format`."""
    path = Path(context.payload["path"])
    filename = str(context.payload.get("filename") or path.name).rsplit("/", 1)[-1][:100]
    author_id: int | None = context.payload.get("author_id")
    digest, tally, size = hashlib.sha256(), Tally(), path.stat().st_size
    with path.open("rb") as file:
        chosen = context.payload.get("format") or imports.detect(file)
        file.seek(0)
        records = _records(file, str(chosen), digest, tally)
        while batch := list(islice(records, imports.BATCH)):
            with transactions.transaction(context) as session:
                project = session.get_one(Project, context.project_id)
                imports.store(session, project, batch, tally, source=filename, author_id=author_id)
            context.report(file.tell(), size, f"{tally.counts['records']} records")
            if context.should_stop() in {"cancel", "preempt"}:
                raise Interrupted(f"job {context.job_id} was asked to end")

    def finish(session: Session) -> Mapping[str, Any]:
        project = session.get_one(Project, context.project_id)
        row = ImportRun(
            project_id=project.id,
            filename=filename,
            format=str(chosen),
            sha256=digest.hexdigest(),
            counts=dict(sorted(tally.counts.items())),
            rejects=tally.rejects,
            created_by_id=author_id,
            created_at=now(session),
        )
        session.add(row)
        session.flush()
        audit.record(
            session,
            "import",
            filename,
            actor_id=author_id,
            project_id=project.id,
            details={"format": row.format, "sha256": row.sha256, "counts": row.counts},
        )
        return {"import_id": row.id, "counts": row.counts}

    context.succeed(finish)


def _records(file: BinaryIO, chosen: str, digest: Any, tally: Tally) -> Iterator[Numbered]:
    for record in registry.read(_chunks(file, digest), chosen):
        if isinstance(record, Rejected):
            tally.reject(record.line, record.reason, record.raw)
        else:
            yield Numbered(0, record)


def _chunks(file: BinaryIO, digest: Any) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        yield chunk

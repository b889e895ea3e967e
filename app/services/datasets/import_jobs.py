"""Imports that are too large for a request: the upload is kept, and a job stores it.

The file lies in the database, in pieces, because every worker reads that, wherever it runs; it is
written in the transaction that enqueues the job and deleted in the one that ends it. A job that
failed or was cancelled can be retried for a week, and continues after the last batch it stored.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Final

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.states import OVER_JOB_STATES, JobState
from app.errors import Invalid
from app.formats import registry
from app.formats.column_mapping import ColumnsByField
from app.models import ImportChunk, ImportJob, ImportRun, Job, Project
from app.services.datasets import import_tally, imports
from app.services.datasets.import_tally import ImportTally
from app.services.jobs import job_helpers, jobs
from app.services.project import word_backlog

IMMEDIATE_MOST_BYTES: Final = 1 << 20
"""Larger files are imported by a job; up to this the request does it."""

KEPT_FOR_RETRY: Final = timedelta(days=7)
IMPORT: Final = "import"
"""The kind of the job that imports a file."""
WORDS: Final = "words"
"""The kind of the job that indexes the words of a finished import."""
QUEUE: Final = "cpu"
"""The queue of both."""

_CHUNK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class ImportStatus:
    """An import, and its job where it has one."""

    run: ImportRun
    job: Job | None

    @property
    def state(self) -> JobState:
        """How far it is; an import without a job was done at once."""
        return JobState.SUCCEEDED if self.job is None else JobState(self.job.state)

    @property
    def is_over(self) -> bool:
        """True when nothing about it will change by itself."""
        return self.state in OVER_JOB_STATES

    @property
    def is_complete(self) -> bool:
        """True when the whole file has been imported."""
        return self.state is JobState.SUCCEEDED


def start(
    session: Session,
    project: Project,
    file: BinaryIO,
    *,
    filename: str,
    format: str | None,
    author_id: int | None,
    mapping: ColumnsByField | None = None,
    is_evaluation: bool = False,
    same_labelers: bool | None = None,
    member_splits: bool | None = None,
) -> ImportStatus:
    """Import a small file now; keep a larger one and enqueue its job.

    Raises:
        Invalid: the file is empty, or its format is not known.
    """
    size = file.seek(0, 2)
    file.seek(0)
    if size <= IMMEDIATE_MOST_BYTES:
        run = imports.run(
            session,
            project,
            file,
            filename=filename,
            format=format,
            mapping=mapping,
            author_id=author_id,
            is_evaluation=is_evaluation,
            same_labelers=same_labelers,
            member_splits=member_splits,
        )
        return ImportStatus(run, None)
    run = ImportRun(
        project_id=project.id,
        filename=imports.source_of(filename),
        format=_known_format(file, format, mapping),
        sha256="",
        is_evaluation=is_evaluation,
        counts={},
        rejects=[],
        created_by_id=author_id,
        created_at=now(session),
    )
    session.add(run)
    session.flush()
    run.sha256 = _keep(session, run, file)
    choices = {"same_labelers": same_labelers, "member_splits": member_splits}
    return ImportStatus(run, _enqueue(session, run, size, mapping, choices))


def status(session: Session, project_id: int, import_id: int) -> ImportStatus:
    """Return an import of the project with its job.

    Raises:
        NotFound: there is none.
    """
    run = imports.get(session, project_id, import_id)
    query = (
        select(Job).join(ImportJob, ImportJob.job_id == Job.id).where(ImportJob.import_id == run.id)
    )
    return ImportStatus(run, session.scalar(query))


def of_project(session: Session, project_id: int, *, limit: int = 20) -> list[ImportStatus]:
    """Return the project's imports with their jobs, newest first."""
    query = (
        select(ImportRun, Job)
        .join(ImportJob, ImportJob.import_id == ImportRun.id, isouter=True)
        .join(Job, Job.id == ImportJob.job_id, isouter=True)
        .where(ImportRun.project_id == project_id)
        .order_by(ImportRun.id.desc())
        .limit(limit)
    )
    return [ImportStatus(run, job) for run, job in session.execute(query)]


def chunk(session: Session, import_id: int, n: int) -> bytes | None:
    """Return a piece of an upload, counted from 0; None after the last."""
    query = select(ImportChunk.data).where(ImportChunk.import_id == import_id, ImportChunk.n == n)
    return session.scalar(query)


def resume(session: Session, import_id: int) -> tuple[ImportRun, ImportTally]:
    """Return an import and what its earlier attempts have counted.

    Raises:
        Invalid: its file is no longer kept.
    """
    if chunk(session, import_id, 0) is None:
        raise Invalid(f"the file of import {import_id} is no longer kept; upload it again")
    run = session.get_one(ImportRun, import_id)
    job = session.get_one(ImportJob, import_id)
    tally = ImportTally(
        rejects=list(run.rejects),
        rows=job.rows_done,
        last_ids=dict(job.last_ids or {}),
        duplicates=import_tally.duplicates_of(run.duplicates),
        remarks=list(run.remarks),
    )
    tally.counts.update(run.counts)
    return run, tally


def record_progress(session: Session, import_id: int, tally: ImportTally) -> None:
    """Keep the tally, in the transaction of the batch it counts."""
    job = session.get_one(ImportJob, import_id)
    job.rows_done, job.last_ids = tally.rows, dict(tally.last_ids)
    imports.record_progress(session.get_one(ImportRun, import_id), tally)


def finish(session: Session, import_id: int, tally: ImportTally) -> ImportRun:
    """End an import that is complete: delete its upload, and have its words indexed by a job."""
    record_progress(session, import_id, tally)
    run = session.get_one(ImportRun, import_id)
    imports.record_end(session, run)
    _delete_uploads(session, [import_id])
    if word_backlog.waiting(session, run.project_id):
        jobs.enqueue(
            session,
            kind=WORDS,
            queue=QUEUE,
            payload={"import_id": run.id},
            project_id=run.project_id,
            priority=-job_helpers.LATER,
            created_by_id=run.created_by_id,
        )
    return run


def is_any_running(session: Session) -> bool:
    """Return whether a file is being imported by a worker, into any project."""
    query = select(Job.id).where(Job.kind == IMPORT, Job.state == JobState.RUNNING)
    return session.scalar(query.limit(1)) is not None


def sweep(session: Session) -> None:
    """Delete the uploads of jobs that ended without success a week ago or more."""
    expired = session.scalars(
        select(ImportJob.import_id)
        .join(Job, Job.id == ImportJob.job_id)
        .join(ImportChunk, (ImportChunk.import_id == ImportJob.import_id) & (ImportChunk.n == 0))
        .where(Job.state.in_(OVER_JOB_STATES), Job.ended_at < now(session) - KEPT_FOR_RETRY)
    ).all()
    _delete_uploads(session, expired)


def _known_format(file: BinaryIO, format: str | None, mapping: ColumnsByField | None) -> str:
    if format is None:
        chosen = imports.detect(file, mapping=mapping)
    else:
        chosen = registry.known_name(format)
    file.seek(0)
    return chosen


def _keep(session: Session, run: ImportRun, file: BinaryIO) -> str:
    """Store a file in pieces; return its hash."""
    digest = hashlib.sha256()
    for n, data in enumerate(_pieces(file)):
        digest.update(data)
        session.execute(insert(ImportChunk), [{"import_id": run.id, "n": n, "data": data}])
    return digest.hexdigest()


def _enqueue(
    session: Session,
    run: ImportRun,
    size: int,
    mapping: ColumnsByField | None,
    choices: Mapping[str, bool | None],
) -> Job:
    chosen = {name: choice for name, choice in choices.items() if choice is not None}
    job = jobs.enqueue(
        session,
        kind=IMPORT,
        queue=QUEUE,
        payload={"import_id": run.id} | ({"mapping": dict(mapping)} if mapping else {}) | chosen,
        project_id=run.project_id,
        natural_key=f"import-{run.id}",
        created_by_id=run.created_by_id,
    )
    job.progress_total = size
    session.add(ImportJob(import_id=run.id, job_id=job.id, bytes=size, rows_done=0))
    session.flush()
    return job


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_CHUNK):
        yield data


def _delete_uploads(session: Session, import_ids: Sequence[int]) -> None:
    if import_ids:
        session.execute(delete(ImportChunk).where(ImportChunk.import_id.in_(import_ids)))

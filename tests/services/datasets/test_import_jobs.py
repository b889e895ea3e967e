"""Which uploads a job imports, and how long they are kept."""

import io
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.states import JobState
from app.errors import Invalid
from app.models import ImportChunk, ImportRun, Job
from app.services.datasets import import_jobs
from app.services.datasets.import_jobs import ImportStatus
from tests.services import sample

LINE = b'{"prompt": "Is it open?"}\n'


def start(session: Session, content: bytes, format: str | None = None) -> ImportStatus:
    project = sample.make_project(session)
    return import_jobs.start(
        session,
        project,
        io.BytesIO(content),
        filename="folder/asked.jsonl",
        format=format,
        author_id=None,
    )


def pieces(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(ImportChunk)) or 0


def test_up_to_a_megabyte_is_imported_at_once(session: Session) -> None:
    padding = b"\n" * (import_jobs.IMMEDIATE_MOST_BYTES - len(LINE))
    started = start(session, LINE + padding)
    assert (started.job, started.is_complete) == (None, True)
    assert started.run.counts["prompts_new"] == 1
    assert pieces(session) == 0


def test_a_larger_file_is_kept_for_a_job(session: Session) -> None:
    content = LINE + b"\n" * import_jobs.IMMEDIATE_MOST_BYTES
    started = start(session, content)
    assert started.job is not None
    assert (started.job.kind, started.job.queue, started.state) == ("import", "cpu", "queued")
    assert started.job.progress_total == len(content)
    assert (started.run.filename, started.run.format) == ("asked.jsonl", "prompts")
    kept = [import_jobs.chunk(session, started.run.id, n) for n in range(pieces(session) + 1)]
    assert b"".join(piece for piece in kept[:-1] if piece is not None) == content
    assert kept[-1] is None


@pytest.mark.parametrize(
    ("content", "format", "reason"),
    [(b'{"colour": "blue"}', None, "colour"), (LINE, "jsonlines", "no format 'jsonlines'")],
)
def test_a_large_file_of_no_known_format_is_refused_at_once(
    session: Session, monkeypatch: pytest.MonkeyPatch, content: bytes, format: str, reason: str
) -> None:
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", 0)
    with pytest.raises(Invalid, match=reason):
        start(session, content, format)
    assert session.scalar(select(func.count(ImportRun.id))) == 0


@pytest.mark.parametrize(
    ("state", "days", "is_kept"),
    [
        (JobState.FAILED, 8, False),
        (JobState.CANCELLED, 8, False),
        (JobState.FAILED, 6, True),
        (JobState.RUNNING, 8, True),
    ],
)
def test_an_upload_is_kept_while_its_job_can_be_retried(
    session: Session, monkeypatch: pytest.MonkeyPatch, state: JobState, days: int, is_kept: bool
) -> None:
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", 0)
    started = start(session, LINE)
    assert started.job is not None
    job = session.get_one(Job, started.job.id)
    job.state = state
    job.ended_at = None if state is JobState.RUNNING else now(session) - timedelta(days=days)
    session.flush()
    import_jobs.sweep(session)
    assert bool(pieces(session)) is is_kept

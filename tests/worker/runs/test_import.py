"""A job imports what the request would have: the same rows, counts, rejects and line numbers."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.errors import Invalid
from app.models import AuditEvent, ImportChunk, ImportRun, Job, Project, Prompt
from app.services.datasets import import_jobs, imported_records, imports
from app.services.datasets.import_pace import ImportPace
from app.services.jobs import job_helpers, job_leases
from app.services.project import prompt_search, word_backlog
from app.services.project.prompt_search import PromptFilter
from tests.services import sample
from tests.worker.runs import small
from worker.orders import Interrupted, Orders
from worker.runs import import_, words
from worker.runs.process.job_context import JobContext

JSONL = (
    b"".join(json.dumps({"prompt": f"Question {n}?"}).encode() + b"\n" for n in range(10))
    + b"not json\n"
    + b'{"prompt": "Question 10?"}\n'
)
ARRAY = b'[\n  {"prompt": "A?"},\n  {"prompt":\n "B?"}, {"prompt": 3},\n  {"prompt": "C?"}\n]'
CSV = b'id,prompt\n1,"Two\nlines?"\n2,One?,extra\n\n3,Last?\n'
PREFERENCES = b"\n".join(
    json.dumps(
        {
            "context": "A",
            "completions": ["x", "y"],
            "individual_preference": [{"labeler": "ann", "ranking": ranking}],
        }
    ).encode()
    for ranking in ([1, 2], [2, 1])
)
ASKED = [{"role": role, "content": role} for role in ("user", "user", "assistant", "user")]
PROMPTS = json.dumps({"prompt": "A?"}).encode() + b"\n\n" + json.dumps({"messages": ASKED}).encode()


_IDS = select(Project.id)


@pytest.fixture
def jobs_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", 0)
    monkeypatch.setattr(import_jobs, "_CHUNK", 7)
    monkeypatch.setattr(imports, "BATCH", 3)


def start(database: Database, content: bytes, slug: str = "desk") -> int:
    with database.transaction() as session:
        project = sample.make_project(session, slug=slug, name=slug)
        started = import_jobs.start(
            session,
            project,
            io.BytesIO(content),
            filename="asked.jsonl",
            format=None,
            author_id=None,
        )
        return started.run.id


def result(database: Database, import_id: int) -> dict[str, Any]:
    with database.reader() as session:
        run = session.get_one(ImportRun, import_id)
        columns = ("filename", "format", "sha256", "counts", "rejects")
        return {name: getattr(run, name) for name in columns}


def found(database: Database, word: str) -> int:
    """Return how many prompts a search finds; texts that wait are not found."""
    with database.reader() as session:
        chosen = PromptFilter(search=word)
        return sum(prompt_search.count(session, each, chosen) for each in session.scalars(_IDS))


def kept_pieces(database: Database) -> int:
    with database.reader() as session:
        return session.scalar(select(func.count()).select_from(ImportChunk)) or 0


@pytest.mark.parametrize(
    ("content", "lines"),
    [(JSONL, [11]), (ARRAY, [4]), (CSV, [4]), (PREFERENCES, [2]), (PROMPTS, [3])],
    ids=["jsonl", "array", "csv", "preferences", "prompts"],
)
def test_a_job_imports_what_the_request_does(
    any_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    lines: list[int],
) -> None:
    at_once = start(any_database, content, "at-once")
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", 0)
    monkeypatch.setattr(import_jobs, "_CHUNK", 7)
    monkeypatch.setattr(imports, "BATCH", 3)
    by_job = start(any_database, content, "by-job")
    assert small.run_jobs(any_database, tmp_path) == ["import", "words"]
    assert result(any_database, by_job) == result(any_database, at_once)
    assert [reject["line"] for reject in result(any_database, by_job)["rejects"]] == lines
    assert kept_pieces(any_database) == 0
    with any_database.reader() as session:
        assert list(session.scalars(select(AuditEvent.action))).count("import") == 2
        job = session.scalars(select(Job).where(Job.kind == "import")).one()
        assert job.result.pop("seconds") > 0
        assert job.result == {
            "import_id": by_job,
            "counts": result(any_database, by_job)["counts"],
        }
        assert job.progress_done == job.progress_total == len(content)


@pytest.mark.usefixtures("jobs_for_all")
def test_the_progress_says_why_an_import_is_slow(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    report = JobContext.report

    def keep(self: JobContext, done: int, total: int, note: str = "") -> None:
        notes.append(note)
        report(self, done, total, note)

    monkeypatch.setattr(JobContext, "report", keep)
    rests = iter((False, True, True, False))
    monkeypatch.setattr(ImportPace, "rests", property(lambda _self: next(rests)))
    start(database, JSONL)
    small.run_jobs(database, tmp_path)
    assert notes[:4] == [
        "3 rows read",
        "6 rows read, slower while people label",
        "9 rows read, slower while people label",
        "12 rows read",
    ]


@pytest.mark.usefixtures("jobs_for_all")
def test_an_import_that_was_cut_short_adds_and_counts_nothing_twice(
    database: Database, tmp_path: Path
) -> None:
    import_id = start(database, JSONL)
    orders = Orders()
    orders.give("preempt")
    context = small.claimed(database, tmp_path, orders)
    with pytest.raises(Interrupted):
        import_.run(context)
    count = select(func.count(Prompt.id))
    with database.reader() as session:
        assert session.scalar(count) == 3
    assert found(database, "question") == 0
    assert result(database, import_id)["counts"]["prompts_new"] == 3
    assert kept_pieces(database) > 0
    context.interrupt()
    assert small.run_jobs(database, tmp_path) == ["import", "words"]
    with database.reader() as session:
        assert session.scalar(count) == 11
    assert found(database, "question") == 11
    counts = result(database, import_id)["counts"]
    assert (counts["prompts_new"], counts["records"], counts["rejected"]) == (11, 11, 1)
    assert kept_pieces(database) == 0


@pytest.mark.usefixtures("jobs_for_all")
def test_a_worker_killed_within_a_batch_leaves_nothing_of_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_id = start(database, JSONL)
    context = small.claimed(database, tmp_path)
    whole_store = imported_records.store

    def killed_in_third_batch(*arguments: Any, **options: Any) -> None:
        whole_store(*arguments, **options)
        if arguments[3].rows > 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(imported_records, "store", killed_in_third_batch)
        with pytest.raises(KeyboardInterrupt):
            import_.run(context)
    assert result(database, import_id)["counts"]["prompts_new"] == 6
    with database.transaction() as session:
        job_leases.died(session, context.job_id, context.lease_token, "killed")
        session.get_one(Job, context.job_id).not_before = None
    assert small.run_jobs(database, tmp_path) == ["import", "words"]
    counts = result(database, import_id)["counts"]
    assert (counts["prompts_new"], counts["records"], counts["rejected"]) == (11, 11, 1)


@pytest.mark.usefixtures("jobs_for_all")
def test_words_rest_while_a_file_is_imported_and_make_room_for_jobs_that_wait(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_backlog, "PIECE", 4)
    monkeypatch.setattr(job_helpers, "_PATIENCE_S", 0.0)
    start(database, JSONL)
    import_.run(small.claimed(database, tmp_path))
    indexing = small.claimed(database, tmp_path)
    start(database, JSONL, "second")
    rested: list[float] = []
    notes: list[str] = []
    monkeypatch.setattr(time, "sleep", rested.append)
    monkeypatch.setattr(words, "_REST_S", 0.05)
    with monkeypatch.context() as patched:
        patched.setattr(
            JobContext, "report", lambda _self, _done, _total, note="": notes.append(note)
        )
        with pytest.raises(Interrupted, match="makes room for a job that waits"):
            words.run(indexing)
        importing = small.claimed(database, tmp_path)
        assert importing.kind == "import"
        words.run(indexing)
    assert notes == [
        "3 texts made searchable",
        *(f"{count} texts made searchable, slower while a file is imported" for count in (3, 6, 8)),
    ]
    assert words._LOOK_S in rested
    assert found(database, "question") == 11
    importing.interrupt()
    assert small.run_jobs(database, tmp_path) == ["import", "words"]


@pytest.mark.usefixtures("jobs_for_all")
def test_a_zombie_stores_nothing(database: Database, tmp_path: Path) -> None:
    import_id = start(database, JSONL)
    context = small.claimed(database, tmp_path)
    with database.transaction() as session:
        job_leases.requeue(session, context.job_id, context.lease_token)
    small.run_jobs(database, tmp_path)
    finished = result(database, import_id)
    with pytest.raises(Invalid, match="no longer kept"):
        import_.run(context)
    assert result(database, import_id) == finished


@pytest.mark.usefixtures("jobs_for_all")
def test_a_file_that_is_gone_fails_its_job(database: Database, tmp_path: Path) -> None:
    start(database, JSONL)
    context = small.claimed(database, tmp_path)
    with database.transaction() as session:
        session.query(ImportChunk).delete()
    with pytest.raises(Invalid, match="upload it again"):
        import_.run(context)

import gzip
import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.models import AuditEvent, ImportRun, Prompt
from app.services.datasets import imports
from app.services.jobs import job_leases, jobs
from tests.services import sample
from tests.worker.runs import small
from worker.orders import Interrupted, Orders
from worker.runs import import_
from worker.runs.process.job_context import JobContext


def enqueue(database: Database, path: Path) -> int:
    with database.transaction() as session:
        project = sample.make_project(session)
        jobs.enqueue(
            session,
            kind="import",
            queue="cpu",
            payload={"path": str(path), "filename": "asked.jsonl.gz"},
            project_id=project.id,
        )
    return project.id


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(imports, "BATCH", 3)
    lines = [json.dumps({"prompt": f"Question {n}?"}) for n in range(10)]
    path = tmp_path / "upload"
    path.write_bytes(gzip.compress("\n".join([*lines, "not json"]).encode()))
    return path


def test_a_file_comes_in_with_its_bad_lines_named(
    database: Database, file: Path, tmp_path: Path
) -> None:
    project_id = enqueue(database, file)
    assert small.run_jobs(database, tmp_path) == ["import"]
    with database.reader() as session:
        row = session.scalars(select(ImportRun)).one()
        assert (row.filename, row.format) == ("asked.jsonl.gz", "prompts")
        assert row.counts["prompts_new"] == 10
        assert [one["line"] for one in row.rejects] == [11]
        count = select(func.count(Prompt.id)).where(Prompt.project_id == project_id)
        assert session.scalar(count) == 10
        assert "import" in session.scalars(select(AuditEvent.action)).all()


def test_an_import_that_was_cut_short_adds_nothing_twice(
    database: Database, file: Path, tmp_path: Path
) -> None:
    project_id = enqueue(database, file)
    orders = Orders()
    orders.give("preempt")
    with database.transaction() as session:
        claimed = job_leases.claim(session, "w", ["cpu"], lease_s=60)
    assert claimed is not None
    context: JobContext = small.context_of(database, claimed, tmp_path, orders)
    with pytest.raises(Interrupted):
        import_.run(context)
    count = select(func.count(Prompt.id)).where(Prompt.project_id == project_id)
    with database.reader() as session:
        assert session.scalar(count) == 3
    context.interrupt()
    assert small.run_jobs(database, tmp_path) == ["import"]
    with database.reader() as session:
        assert session.scalar(count) == 10

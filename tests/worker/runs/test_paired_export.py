"""Exports that two processes of a job write: the same bytes and account as one process's."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from app.db import Database
from app.domain import shard_sizes
from app.models import Project, Shard
from app.services.datasets import labelers_at_work, preferences
from app.services.datasets.judged_comparisons import ExportOptions
from tests.worker.runs import small, test_shared_draws
from tests.worker.runs.test_shared_export import frozen, judged, order
from worker.orders import Interrupted, Orders
from worker.runs import export, paired_export, shared_export
from worker.runs.paired_export import SecondProcess
from worker.runs.process import shard_work
from worker.runs.process.job_context import JobContext
from worker.ticket import EXIT_ORPHANED

COMPARISONS = 17
WAIT_S = 0.01

Ranges = list[tuple[int | None, int | None]]


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a second process for what takes milliseconds, two comparisons at a time."""
    for name in ("FIRST_PAGE", "PAGE", "SQLITE_PAGE"):
        monkeypatch.setattr(preferences, name, 2)
    monkeypatch.setattr(paired_export, "PAGES", 1)
    monkeypatch.setattr(paired_export, "START_S", -1.0)
    monkeypatch.setattr(paired_export, "_cores", lambda: 2)
    monkeypatch.setattr(labelers_at_work, "LATELY_S", 0.0)


@pytest.fixture
def project(any_database: Database) -> Project:
    return judged(any_database, COMPARISONS)


only_sqlite = pytest.mark.parametrize("any_url", ["sqlite"], indirect=True)


def alone(
    database: Database, project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Write the export in one process, and return its id."""
    with monkeypatch.context() as patch:
        patch.setattr(paired_export, "pays", lambda *_args: False)
        export_id = order(database, project, "rich")
        small.run_jobs(database, folder)
    return export_id


def watch(
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[SecondProcess, int], object] = lambda _second, _number: None,
) -> tuple[list[SecondProcess], list[int]]:
    """Wait for the second process before each part; return it and the parts that it writes."""
    give, written = SecondProcess.give, SecondProcess.written
    seen: list[SecondProcess] = []
    parts: list[int] = []

    def give_once_ready(second: SecondProcess, ranges: Ranges, number: int) -> None:
        seen[:] = [second]
        while second.is_alive and not second.is_ready:
            time.sleep(WAIT_S)
        before(second, number)
        give(second, ranges, number)
        assert len(second.given) <= paired_export.AHEAD, "the disk holds few parts"

    def note(second: SecondProcess, number: int) -> Path | None:
        folder = written(second, number)
        parts.extend([] if folder is None else [number])
        return folder

    monkeypatch.setattr(SecondProcess, "give", give_once_ready)
    monkeypatch.setattr(SecondProcess, "written", note)
    return seen, parts


def folder_of(context: JobContext) -> Path:
    return context.workdir / "second-process"


def test_two_processes_write_the_file_that_one_writes(
    project: Project, any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = alone(any_database, project, tmp_path, monkeypatch)
    second = order(any_database, project, "rich")
    seen, parts = watch(monkeypatch)
    export.run(small.claimed(any_database, tmp_path))
    assert parts == [1, 3, 5]
    assert not seen[0].given
    assert frozen(any_database, second) == frozen(any_database, first)


@only_sqlite
def test_the_job_writes_again_what_the_second_process_fails_at(
    project: Project,
    any_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    first = alone(any_database, project, tmp_path, monkeypatch)
    second = order(any_database, project, "rich")
    context = small.claimed(any_database, tmp_path)

    def break_it(_second: SecondProcess, number: int) -> None:
        if number == 2:  # a file where it makes the folder of its next part
            (folder_of(context) / "unfinished").touch()

    seen, parts = watch(monkeypatch, break_it)
    monkeypatch.setattr(paired_export, "AHEAD", 1)
    export.run(context)
    assert parts == [1]
    assert not seen[0].is_alive
    assert "FileExistsError" in capfd.readouterr().err, "its error is in the log of the job"
    assert frozen(any_database, second) == frozen(any_database, first)


@only_sqlite
def test_the_second_process_gets_no_part_while_people_label(
    project: Project, any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = alone(any_database, project, tmp_path, monkeypatch)
    second = order(any_database, project, "rich")

    def label(_second: SecondProcess, number: int) -> None:
        lately_s = 3600.0 if number in range(1, 4) else 0.0  # the votes are new
        monkeypatch.setattr(labelers_at_work, "LATELY_S", lately_s)

    _, parts = watch(monkeypatch, label)
    monkeypatch.setattr(paired_export, "AHEAD", 1)
    export.run(small.claimed(any_database, tmp_path))
    assert parts == [1, 5]
    assert frozen(any_database, second) == frozen(any_database, first)


@only_sqlite
def test_a_job_that_is_cancelled_ends_its_second_process(
    project: Project, any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = Orders()
    order(any_database, project, "rich")
    context = small.claimed(any_database, tmp_path, orders)

    def cancel(_second: SecondProcess, number: int) -> None:
        if number == 2:
            orders.give("cancel")

    seen, parts = watch(monkeypatch, cancel)
    with pytest.raises(Interrupted):
        export.run(context)
    assert parts == [1]
    assert not seen[0].is_alive
    assert not folder_of(context).exists()


@pytest.mark.services
@pytest.mark.parametrize("any_url", ["postgres"], indirect=True)
def test_the_second_process_ends_in_the_middle_of_a_part_when_its_input_ends(
    project: Project, any_database: Database, tmp_path: Path
) -> None:
    what = {"project_id": project.id, "format": "rich", "options": ExportOptions().to_json()}
    url = any_database.engine.url.render_as_string(hide_password=False)
    lines: list[Mapping[str, Any]] = [
        {"database_url": url, "folder": str(tmp_path), "what": what},
        {"number": 1, "after": 0, "until": None},
    ]
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with any_database.transaction() as session:
        session.execute(text("LOCK TABLE comparison IN ACCESS EXCLUSIVE MODE"))
        second = subprocess.Popen(
            [sys.executable, "-m", paired_export.__name__], stdin=subprocess.PIPE
        )
        assert second.stdin is not None
        second.stdin.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        second.stdin.flush()
        while not session.scalar(waiting):
            assert second.poll() is None
            time.sleep(WAIT_S)
        second.stdin.close()  # what the kernel does when the job is killed
        assert second.wait(timeout=60) == EXIT_ORPHANED


@only_sqlite
def test_a_second_process_pays_with_two_cores_much_left_and_nobody_labeling(
    project: Project, any_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    del project  # its votes are new
    monkeypatch.setattr(paired_export, "START_S", 2.0)
    assert paired_export.pays(any_database, 100_000, 5e-5)
    assert not paired_export.pays(any_database, 50_000, 5e-5)
    with monkeypatch.context() as patch:
        patch.setattr(paired_export, "_cores", lambda: 1)
        assert not paired_export.pays(any_database, 100_000, 5e-5)
    monkeypatch.setattr(labelers_at_work, "LATELY_S", 3600.0)
    assert not paired_export.pays(any_database, 100_000, 5e-5)


@only_sqlite
def test_no_second_process_starts_for_a_single_part(
    project: Project, any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired_export, "PAGES", COMPARISONS)
    order(any_database, project, "rich")
    seen, parts = watch(monkeypatch)
    export.run(small.claimed(any_database, tmp_path))
    assert not seen
    assert not parts


@only_sqlite
def test_other_workers_come_before_a_second_process(
    project: Project, any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_export, "CHUNK", 3)
    monkeypatch.setattr(shard_sizes, "START_S", -100.0)
    sizes, looks = shard_work.sizes, iter([False])

    def sizes_after_a_page(*args: Any) -> shard_work.Sizes | None:
        return sizes(*args) if next(looks, True) else None

    monkeypatch.setattr(shard_work, "sizes", sizes_after_a_page)
    seen, _ = watch(monkeypatch)
    test_shared_draws.two_workers(any_database)
    order(any_database, project, "rich")
    export.run(small.claimed(any_database, tmp_path))
    assert seen == []
    with any_database.reader() as session:
        assert session.scalars(select(Shard.id)).all()


def test_the_second_process_loads_no_torch() -> None:
    script = f"import sys, {paired_export.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.db import Database
from app.domain.states import JobState
from app.models import Job
from app.services.jobs import jobs
from tests.faults.workers import (
    attempts,
    enqueue,
    read,
    results,
    supervisor,
    until,
    until_over,
    until_progress,
)
from worker.supervisor import Supervisor

Press = Callable[[Database, int], object]


@pytest.fixture
def working(database: Database, tmp_path: Path) -> Iterator[Supervisor]:
    """Give a supervisor that polls in a thread of its own."""
    found = supervisor(database, tmp_path)
    thread = threading.Thread(target=found.poll)
    thread.start()
    yield found
    found.stop()
    thread.join()


def run(database: Database, work: Path, kind: str) -> Job:
    job_id = enqueue(database, kind)
    assert supervisor(database, work).drain() >= 1
    return read(database, job_id)


def test_a_run_succeeds_with_its_rows_and_metrics(database: Database, tmp_path: Path) -> None:
    job = run(database, tmp_path, "quick")
    assert (job.state, job.result, job.progress_note) == (JobState.SUCCEEDED, {"lease": 1}, "done")
    with database.reader() as session:
        kept = [(row.name, row.value) for row in jobs.metrics(session, job.id)]
    assert kept == [("loss", 0.5)]
    assert results(database, job.id) == 1
    assert not (tmp_path / f"job-{job.id}").exists()


def test_a_wrong_run_fails_with_its_reason_and_traceback(
    database: Database, tmp_path: Path
) -> None:
    job = run(database, tmp_path, "wrong")
    assert (job.state, job.error) == (JobState.FAILED, "ValueError: seven is not a colour")
    (attempt,) = attempts(database, job.id)
    assert attempt.log.count("Traceback") == 1


def test_a_full_disk_is_waited_for(database: Database, tmp_path: Path) -> None:
    job = run(database, tmp_path, "full_disk")
    assert (job.state, job.not_before is not None) == (JobState.QUEUED, True)


def test_a_run_that_says_nothing_fails(database: Database, tmp_path: Path) -> None:
    job = run(database, tmp_path, "forgetful")
    assert (job.state, job.error) == (
        JobState.FAILED,
        "the forgetful run ended without a result",
    )


def test_a_process_sees_no_settings_and_leads_its_own_session(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTUNE_SECRET_KEY", "s" * 40)
    job = run(database, tmp_path, "environment")
    assert job.result == {"names": [], "is_leader": True}


def test_cancel_ends_a_run_and_clears_its_folder(
    working: Supervisor, database: Database, tmp_path: Path
) -> None:
    job_id = enqueue(database, "steps", steps=1000, step_s=0.05)
    until_progress(database, job_id)
    with database.transaction() as session:
        jobs.cancel(session, job_id, actor_id=None)
    assert until_over(database, job_id).state == JobState.CANCELLED
    until(lambda: not (tmp_path / f"job-{job_id}").exists(), "the clearing")
    assert results(database, job_id) == 0


def test_cancel_kills_a_run_that_does_not_listen(working: Supervisor, database: Database) -> None:
    job_id = enqueue(database, "stubborn")
    until(lambda: read(database, job_id).state == JobState.RUNNING, "the claim")
    with database.transaction() as session:
        jobs.cancel(session, job_id, actor_id=None)
    assert until_over(database, job_id).state == JobState.CANCELLED


def test_stop_here_keeps_what_the_run_has(working: Supervisor, database: Database) -> None:
    job_id = enqueue(database, "steps", steps=1000, step_s=0.05)
    until_progress(database, job_id, 3)
    with database.transaction() as session:
        jobs.stop_here(session, job_id, actor_id=None)
    assert until_over(database, job_id).state == JobState.SUCCEEDED
    assert results(database, job_id) == 1


def test_a_cancelled_job_can_be_retried(working: Supervisor, database: Database) -> None:
    job_id = enqueue(database, "steps", steps=40, step_s=0.1)
    until_progress(database, job_id)
    with database.transaction() as session:
        jobs.cancel(session, job_id, actor_id=None)
    assert until_over(database, job_id).state == JobState.CANCELLED
    with database.transaction() as session:
        jobs.retry(session, job_id, actor_id=None)
    assert until_over(database, job_id).state == JobState.SUCCEEDED


def test_a_supervisor_that_stops_gives_a_deaf_run_back(database: Database, tmp_path: Path) -> None:
    found = supervisor(database, tmp_path)
    job_id = enqueue(database, "stubborn")
    thread = threading.Thread(target=found.drain)
    thread.start()
    until(lambda: read(database, job_id).state == JobState.RUNNING, "the claim")
    found.stop()
    thread.join()
    job = read(database, job_id)
    assert (job.state, job.deaths, job.attempts) == (JobState.QUEUED, 0, 0)

"""Whatever process of a job is killed at any moment, the job ends and its result exists once."""

import os
import signal
from pathlib import Path

import pytest

from app.db import Database, now
from app.domain.states import JobState
from app.services.jobs import restored_jobs
from tests.faults.workers import (
    attempts,
    child_pid,
    enqueue,
    freeze,
    is_alive,
    read,
    results,
    until,
    until_over,
    until_progress,
    worker,
)
from worker import artifacts


def test_a_killed_process_is_started_again_and_resumes(
    any_database: Database, tmp_path: Path
) -> None:
    job_id = enqueue(any_database, "steps", steps=8, step_s=0.4)
    with worker(any_database, tmp_path):
        until_progress(any_database, job_id, 2)
        os.kill(child_pid(any_database, job_id), signal.SIGKILL)
        job = until_over(any_database, job_id)
        until(lambda: bool(attempts(any_database, job_id)[0].log), "the log of the last attempt")
    assert (job.state, job.deaths, results(any_database, job_id)) == (JobState.SUCCEEDED, 1, 1)
    newest, first = attempts(any_database, job_id)
    assert first.error == "the job's process was killed by SIGKILL"
    assert newest.log.strip().endswith("counted to 8")


def test_a_killed_supervisor_takes_its_process_along_and_another_takes_over(
    any_database: Database, tmp_path: Path
) -> None:
    job_id = enqueue(any_database, "steps", steps=8, step_s=0.4)
    with worker(any_database, tmp_path) as first:
        until_progress(any_database, job_id, 2)
        pid = child_pid(any_database, job_id)
        first.kill()
        first.wait()
        until(lambda: not is_alive(pid), "the end of the orphan")
        with worker(any_database, tmp_path):
            job = until_over(any_database, job_id)
    assert (job.state, results(any_database, job_id)) == (JobState.SUCCEEDED, 1)
    assert [attempt.outcome for attempt in attempts(any_database, job_id)] == ["succeeded", "lost"]


def test_a_worker_that_is_told_to_end_gives_its_job_back_unharmed(
    database: Database, tmp_path: Path
) -> None:
    job_id = enqueue(database, "steps", steps=6, step_s=0.4)
    with worker(database, tmp_path) as first:
        until_progress(database, job_id, 2)
        first.terminate()
        assert first.wait(timeout=30) == 0
    job = read(database, job_id)
    assert (job.state, job.attempts, job.deaths) == (JobState.QUEUED, 0, 0)
    kept = sorted(path.name for path in (tmp_path / f"job-{job_id}").glob("state-*"))
    assert kept
    with worker(database, tmp_path):
        assert until_over(database, job_id).state == JobState.SUCCEEDED
    assert results(database, job_id) == 1


@pytest.mark.parametrize("stopped", ["supervisor", "both"])
def test_a_zombie_that_comes_back_is_fenced(
    any_database: Database, tmp_path: Path, stopped: str
) -> None:
    flag, started = tmp_path / "flag", tmp_path / "started"
    job_id = enqueue(any_database, "patient", flag=str(flag), started=str(started))
    with worker(any_database, tmp_path) as zombie:
        pid = child_pid(any_database, job_id)
        until(started.exists, "the run's start")
        freeze(any_database, zombie.pid, *([pid] if stopped == "both" else []))
        with worker(any_database, tmp_path):
            until(lambda: read(any_database, job_id).lease_token == 2, "the second claim")
            flag.touch()
            if stopped == "both":
                os.kill(pid, signal.SIGCONT)
            job = until_over(any_database, job_id)
            until(lambda: not is_alive(pid), "the end of the fenced process")
            until(
                lambda: read(any_database, job_id).fenced_writes == 1,
                "the fenced write's count",
            )
    assert (job.state, job.result["lease"]) == (JobState.SUCCEEDED, 2)
    assert results(any_database, job_id) == 1


def test_a_job_does_not_resume_what_was_computed_before_a_restoration(
    database: Database, tmp_path: Path
) -> None:
    with database.transaction() as session:
        moment = now(session)
        restored_jobs.record(session, 1000, sha256="0" * 64, taken_at=moment)
    job_id = enqueue(database, "steps", steps=1, step_s=0)

    def write(folder: Path) -> None:  # as another job left it, which had this id
        (folder / "count").write_text("1")

    artifacts.save_state(artifacts.job_folder(tmp_path, job_id), 1, 7, write)
    with worker(database, tmp_path):
        job = until_over(database, job_id)
    assert (job.state, job.lease_token, job.progress_note) == (JobState.SUCCEEDED, 1001, "step 1")


def test_a_job_that_kills_its_process_three_times_is_set_apart_with_its_log(
    database: Database, tmp_path: Path
) -> None:
    job_id = enqueue(database, "suicidal")
    after = enqueue(database, "quick")
    with worker(database, tmp_path):
        assert until_over(database, after).state == JobState.SUCCEEDED
        job = until_over(database, job_id)
    assert (job.state, job.deaths) == (JobState.QUARANTINED, 3)
    assert {attempt.log for attempt in attempts(database, job_id)} == {"last words\n"}

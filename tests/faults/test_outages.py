"""Outages of what workers depend on: the broker, its messages, the database."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from sqlalchemy import create_engine, make_url, text

from app import queue as broker
from app.db import Database
from app.domain.states import JobState
from tests.faults.workers import (
    attempts,
    child_pid,
    enqueue,
    is_alive,
    read,
    results,
    until,
    until_over,
    until_progress,
    worker,
)

pytestmark = pytest.mark.services


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    found = Database(postgres_url)
    yield found
    found.dispose()


@pytest.fixture
def bus(redis_url: str) -> Iterator[str]:
    """Provide an empty broker for this test, to which this process sends wakes."""
    url = f"{redis_url.rsplit('/', 1)[0]}/5"
    flush(url)
    broker.configure(url)
    yield url
    broker.configure(None)
    flush(url)


def flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushdb()


@contextmanager
def closed(database: Database) -> Iterator[None]:
    """End all connections to a PostgreSQL database and allow no new ones."""
    url = database.engine.url
    admin = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    name = make_url(url).database
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": name},
        )
        try:
            yield
        finally:
            connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    admin.dispose()


def test_a_wake_brings_a_worker(postgres: Database, bus: str, tmp_path: Path) -> None:
    with worker(postgres, tmp_path, bus):
        for _ in range(2):
            job_id = enqueue(postgres, "quick")
            assert until_over(postgres, job_id).state == JobState.SUCCEEDED
            assert results(postgres, job_id) == 1


def test_lost_wakes_lose_no_job(postgres: Database, bus: str, tmp_path: Path) -> None:
    before = [enqueue(postgres, "quick") for _ in range(2)]
    flush(bus)
    with worker(postgres, tmp_path, bus):
        for job_id in before:
            assert until_over(postgres, job_id).state == JobState.SUCCEEDED
        broker.configure(None)  # from here on nobody rings but the worker itself
        after = enqueue(postgres, "quick")
        assert until_over(postgres, after).state == JobState.SUCCEEDED


def test_a_killed_celery_worker_loses_no_job(postgres: Database, bus: str, tmp_path: Path) -> None:
    job_id = enqueue(postgres, "steps", steps=6, step_s=0.4)
    with worker(postgres, tmp_path, bus) as first:
        until_progress(postgres, job_id, 2)
        pid = child_pid(postgres, job_id)
        first.kill()
        first.wait()
        until(lambda: not is_alive(pid), "the end of the orphan")
        with worker(postgres, tmp_path, bus):
            job = until_over(postgres, job_id)
    assert (job.state, results(postgres, job_id)) == (JobState.SUCCEEDED, 1)


def test_a_celery_worker_that_is_told_to_end_gives_its_job_back(
    postgres: Database, bus: str, tmp_path: Path
) -> None:
    job_id = enqueue(postgres, "steps", steps=200, step_s=0.1)
    with worker(postgres, tmp_path, bus) as first:
        until_progress(postgres, job_id, 2)
        first.terminate()
        first.wait(timeout=30)
    job = read(postgres, job_id)
    assert (job.state, job.attempts, job.deaths) == (JobState.QUEUED, 0, 0)


def test_a_run_goes_on_computing_while_the_database_is_away(
    postgres: Database, tmp_path: Path
) -> None:
    job_id = enqueue(postgres, "steps", steps=8, step_s=0.4)
    with worker(postgres, tmp_path):
        until_progress(postgres, job_id, 2)
        with closed(postgres):
            last = tmp_path / f"job-{job_id}" / "state-000000008-000001"
            until(last.exists, "the last step, computed without the database")
        job = until_over(postgres, job_id)
    assert (job.state, results(postgres, job_id)) == (JobState.SUCCEEDED, 1)
    assert [attempt.outcome for attempt in attempts(postgres, job_id)] == ["succeeded"]


def test_a_job_whose_rows_the_database_does_not_take_is_tried_again(
    postgres: Database, tmp_path: Path
) -> None:
    job_id = enqueue(postgres, "storing", steps=1000, step_s=0.1)
    with worker(postgres, tmp_path):
        until_progress(postgres, job_id, 1)
        with closed(postgres):
            time.sleep(0.5)  # the next row is stored meanwhile
        postgres.dispose()  # this process has lost its connections, too
        until(lambda: read(postgres, job_id).state != JobState.RUNNING, "the end of the attempt")
        job = read(postgres, job_id)
    assert (job.state, job.attempts) == (JobState.QUEUED, 1), job.error
    assert job.not_before is not None
    assert "the database did not respond" in job.error


def test_jobs_run_while_the_broker_is_away(database: Database, tmp_path: Path) -> None:
    job_id = enqueue(database, "quick")
    with worker(database, tmp_path, "redis://127.0.0.1:1/0", slow_poll_s=0.2) as process:
        assert until_over(database, job_id).state == JobState.SUCCEEDED
        later = enqueue(database, "quick")
        assert until_over(database, later).state == JobState.SUCCEEDED
        process.terminate()
        process.wait(timeout=30)


def test_a_dead_broker_stops_no_change(database: Database) -> None:
    broker.configure("redis://127.0.0.1:1/0")
    try:
        job_id = enqueue(database, "quick")
        assert broker.wake("cpu") is False
        assert broker.is_reachable() is False
    finally:
        broker.configure(None)
    assert read(database, job_id).state == JobState.QUEUED

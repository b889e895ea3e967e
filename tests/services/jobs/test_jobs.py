from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from app import queue as broker
from app.db import Database
from app.domain.states import JobState
from app.errors import Conflict, Invalid, NotFound
from app.models import Job
from app.services.jobs import job_leases, jobs


def enqueue(database: Database, **options: Any) -> int:
    given: dict[str, Any] = {"kind": "sft", "queue": "gpu", "payload": {}}
    with database.transaction() as session:
        return jobs.enqueue(session, **(given | options)).id


def claim(database: Database, worker: str = "w", lease_s: float = 40.0) -> job_leases.ClaimedJob:
    with database.transaction() as session:
        claimed = job_leases.claim(session, worker, ("gpu", "cpu"), lease_s=lease_s)
    assert claimed is not None
    return claimed


def read(database: Database, job_id: int) -> Job:
    with database.reader() as session:
        return jobs.get(session, job_id)


@pytest.fixture
def wakes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(broker, "wake", sent.append)
    return sent


def test_enqueue_under_one_natural_key_makes_one_job(any_database: Database) -> None:
    first = enqueue(any_database, natural_key="round 1 sft", payload={"seed": 1})
    assert enqueue(any_database, natural_key="round 1 sft", payload={"seed": 2}) == first
    assert read(any_database, first).payload == {"seed": 1}


def test_enqueue_under_one_natural_key_at_once_makes_one_job(any_database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(enqueue, any_database, natural_key="same") for _ in range(16)]
        assert len({future.result() for future in futures}) == 1


def test_enqueue_refuses_an_unknown_queue(database: Database) -> None:
    with pytest.raises(Invalid, match="not 'tpu'"):
        enqueue(database, queue="tpu")


def test_a_wake_follows_the_commit_and_only_the_commit(
    database: Database, wakes: list[str]
) -> None:
    with database.transaction() as session:
        jobs.enqueue(session, kind="sft", queue="gpu", payload={})
        assert wakes == []
    assert wakes == ["gpu"]
    with suppress(RuntimeError), database.transaction() as session:
        jobs.enqueue(session, kind="sft", queue="cpu", payload={})
        raise RuntimeError
    assert wakes == ["gpu"]


def test_a_second_enqueue_under_the_same_key_wakes_nobody(
    database: Database, wakes: list[str]
) -> None:
    enqueue(database, natural_key="once")
    enqueue(database, natural_key="once")
    assert wakes == ["gpu"]


def test_cancel_ends_a_waiting_job_at_once(database: Database) -> None:
    job_id = enqueue(database)
    with database.transaction() as session:
        jobs.cancel(session, job_id, actor_id=None)
    job = read(database, job_id)
    assert (job.state, job.ended_at is not None) == (JobState.CANCELLED, True)
    with database.transaction() as session:
        assert job_leases.claim(session, "w", ["gpu"], lease_s=1) is None


def test_cancel_asks_a_running_job(database: Database) -> None:
    claimed = claim_new(database)
    with database.transaction() as session:
        jobs.cancel(session, claimed.job_id, actor_id=None)
    assert read(database, claimed.job_id).state == JobState.RUNNING
    with database.transaction() as session:
        asked = job_leases.heartbeat(session, claimed.job_id, claimed.lease_token, lease_s=40)
    assert asked is job_leases.Signal.CANCEL


def test_stop_here_reaches_a_running_job_only(database: Database) -> None:
    job_id = enqueue(database)
    with pytest.raises(Conflict, match="queued"), database.transaction() as session:
        jobs.stop_here(session, job_id, actor_id=None)
    claimed = claim(database)
    with database.transaction() as session:
        jobs.stop_here(session, job_id, actor_id=None)
    with database.reader() as session:
        asked = job_leases.look(session, job_id, claimed.lease_token)
    assert asked is job_leases.Signal.STOP_HERE


def test_retry_starts_counting_anew_and_never_reuses_a_token(
    database: Database, wakes: list[str]
) -> None:
    claimed = claim_new(database)
    with database.transaction() as session:
        job_leases.fail(session, claimed.job_id, claimed.lease_token, "no")
    wakes.clear()
    with database.transaction() as session:
        jobs.retry(session, claimed.job_id, actor_id=None)
    job = read(database, claimed.job_id)
    assert (job.state, job.attempts, job.deaths, job.error) == (JobState.QUEUED, 0, 0, "")
    assert wakes == ["gpu"]
    assert claim(database).lease_token > claimed.lease_token


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED])
def test_retry_refuses_a_job_that_did_not_end_badly(database: Database, state: JobState) -> None:
    job_id = enqueue(database)
    with database.transaction() as session:
        jobs.get(session, job_id).state = state
    with pytest.raises(Conflict), database.transaction() as session:
        jobs.retry(session, job_id, actor_id=None)


def test_a_job_that_is_not_there_is_named(database: Database) -> None:
    with pytest.raises(NotFound, match="no job 77"), database.transaction() as session:
        jobs.cancel(session, 77, actor_id=None)


def test_pages_go_down_from_the_newest(database: Database) -> None:
    made = [enqueue(database, kind=kind) for kind in ("sft", "reward", "policy")]
    with database.reader() as session:
        first = jobs.page(session, limit=2)
        assert first.next is not None
        rest = jobs.page(session, limit=2, order=first.next)
        none = jobs.page(session, states=[JobState.FAILED])
    assert [job.id for job in first.rows + rest.rows] == made[::-1]
    assert none.rows == []


def claim_new(database: Database) -> job_leases.ClaimedJob:
    enqueue(database)
    return claim(database)

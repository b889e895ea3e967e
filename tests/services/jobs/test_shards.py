from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.states import JobState
from app.errors import LeaseLost
from app.models import Job
from app.services.jobs import job_helpers, job_leases, jobs, shards, workers
from app.services.jobs.shards import HeldShard, Holder, Part, ShardProgress
from tests.services.jobs.test_jobs import claim, enqueue, read

WORK = "draw-1"


def holder(claimed: job_leases.ClaimedJob, worker: str = "w") -> Holder:
    return Holder(claimed.job_id, claimed.lease_token, worker)


def take(database: Database, job_id: int, by: job_leases.ClaimedJob) -> HeldShard | None:
    with database.transaction() as session:
        return shards.take(session, job_id, holder(by), work=WORK)


def finish(database: Database, held: HeldShard, by: job_leases.ClaimedJob) -> None:
    with database.transaction() as session:
        shards.finish(session, held.id, holder(by), {"rows": held.rows})


def shared(database: Database, count: int = 2) -> job_leases.ClaimedJob:
    """Make a job that runs, with shards of two rows."""
    enqueue(database, kind="generate")
    claimed = claim(database)
    with database.transaction() as session:
        parts = [Part(2, {"n": n}) for n in range(count)]
        assert shards.cut(session, claimed.job_id, WORK, parts) == count
    return claimed


def seen(
    session: Session, name: str, device: str = "CPU", queues: tuple[str, ...] = ("gpu",)
) -> None:
    workers.seen(session, workers.Description(name, queues, device, "1"), job_id=None)


def ask(database: Database, job_id: int, count: int = 1) -> list[Job]:
    with database.transaction() as session:
        job_helpers.ask(session, job_id, WORK, count)
        return shards.helpers_of(session, job_id)


def test_shards_are_taken_in_order_each_once_and_counted(any_database: Database) -> None:
    job = shared(any_database)
    ask(any_database, job.job_id)
    helper = claim(any_database, "other")
    first, second = take(any_database, job.job_id, job), take(any_database, job.job_id, helper)
    assert first is not None
    assert second is not None
    assert (first.n, first.payload, second.n) == (1, {"n": 0}, 2)
    assert take(any_database, job.job_id, job) is None
    finish(any_database, first, job)
    with any_database.reader() as session:
        assert shards.progress(session, job.job_id, WORK) == ShardProgress(2, 1, 4, 2, 1)
    finish(any_database, second, helper)
    with any_database.reader() as session:
        assert shards.progress(session, job.job_id, WORK).is_over
        assert shards.progress(session, job.job_id, "another").is_over


@pytest.mark.parametrize("end", ["died", "requeue", "reap", "cancelled"])
def test_a_shard_is_free_again_when_the_lease_of_its_holder_ends(
    any_database: Database, end: str
) -> None:
    job = shared(any_database, 1)
    ask(any_database, job.job_id)
    helper = claim(any_database, "other", lease_s=-1.0 if end == "reap" else 40.0)
    held = take(any_database, job.job_id, helper)
    assert held is not None
    assert take(any_database, job.job_id, job) is None
    with any_database.transaction() as session:
        key = (helper.job_id, helper.lease_token)
        if end == "reap":
            job_leases.reap(session)
        elif end == "died":
            job_leases.died(session, *key, "killed")
        else:
            {"requeue": job_leases.requeue, "cancelled": job_leases.cancelled}[end](session, *key)
    again = take(any_database, job.job_id, job)
    assert again == held
    with pytest.raises(LeaseLost, match="no longer held"):
        finish(any_database, held, helper)
    finish(any_database, held, job)
    with pytest.raises(LeaseLost):  # not twice
        finish(any_database, held, job)


def test_a_claim_of_the_same_helper_does_not_hold_what_the_last_one_held(
    any_database: Database,
) -> None:
    job = shared(any_database, 1)
    ask(any_database, job.job_id)
    first = claim(any_database, "other")
    held = take(any_database, job.job_id, first)
    with any_database.transaction() as session:
        job_leases.requeue(session, first.job_id, first.lease_token)
    second = claim(any_database, "other")
    assert second.job_id == first.job_id
    assert take(any_database, job.job_id, job) == held


def test_shards_that_are_cut_later_follow_and_names_keep_works_apart(
    any_database: Database,
) -> None:
    job = shared(any_database, 1)
    with any_database.transaction() as session:
        shards.cut(session, job.job_id, WORK, [Part(1, {})])
        shards.cut(session, job.job_id, "other", [Part(1, {})])
    with any_database.reader() as session:
        numbers = [(shard.work, shard.n) for shard in shards.of_job(session, job.job_id)]
    assert numbers == [(WORK, 1), (WORK, 2), ("other", 1)]


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
def test_helpers_end_with_the_job_they_help(any_database: Database, end: str) -> None:
    job = shared(any_database)
    waiting, running = ask(any_database, job.job_id, 2)
    claimed = claim(any_database, "other")
    waiting, running = (waiting, running) if claimed.job_id == running.id else (running, waiting)
    with any_database.transaction() as session:
        if end == "cancel":
            jobs.cancel(session, job.job_id, actor_id=None)
        elif end == "succeed":
            job_leases.succeed(session, job.job_id, job.lease_token, {})
        else:
            job_leases.fail(session, job.job_id, job.lease_token, "wrong")
    if end != "cancel":  # whoever looks late finds nothing to do
        assert take(any_database, job.job_id, claimed) is None
    assert read(any_database, waiting.id).state == JobState.CANCELLED
    assert read(any_database, running.id).cancel_requested


def test_helpers_go_on_while_their_job_waits_for_a_worker(any_database: Database) -> None:
    job = shared(any_database)
    (helper,) = ask(any_database, job.job_id)
    with any_database.transaction() as session:
        job_leases.died(session, job.job_id, job.lease_token, "killed")
    again = read(any_database, helper.id)
    assert (again.state, again.cancel_requested) == (JobState.QUEUED, False)


def test_helpers_are_asked_for_once_and_listed_with_what_they_help(
    any_database: Database,
) -> None:
    job = shared(any_database)
    first, again = ask(any_database, job.job_id, 2), ask(any_database, job.job_id, 2)
    assert [helper.id for helper in first] == [helper.id for helper in again]
    assert {helper.priority for helper in first} == {-1}
    with any_database.reader() as session:
        assert [row.id for row in jobs.page(session).rows] == [job.job_id]
        (figures,) = workers.queue_figures(session, ["gpu"])
    assert (figures.waiting, figures.running, figures.oldest_waiting_s) == (0, 1, 0.0)


@pytest.mark.parametrize(
    ("device", "queues", "count"),
    [("CPU", ("gpu", "cpu"), 1), ("GPU", ("gpu",), 0), ("CPU", ("cpu",), 0)],
)
def test_workers_of_the_queue_help_if_one_is_on_the_same_kind_of_device(
    any_database: Database, device: str, queues: tuple[str, ...], count: int
) -> None:
    job = shared(any_database)
    with any_database.transaction() as session:
        seen(session, "w")
        assert job_helpers.others(session, job.job_id) == 0
        seen(session, "other", device, queues)
        assert job_helpers.others(session, job.job_id) == count


def test_a_helper_on_another_kind_of_device_says_that_it_cannot_help(
    any_database: Database,
) -> None:
    job = shared(any_database)
    with any_database.transaction() as session:
        seen(session, "w")
        seen(session, "like it")
        seen(session, "unlike", "GPU")
    ask(any_database, job.job_id, 2)
    for name, words in (("unlike", "this worker has GPU"), ("like it", "")):
        helper = claim(any_database, name)
        with any_database.reader() as session:
            reason = job_helpers.misfit(session, helper.job_id)
        assert (words in reason) if words else (reason == "")


@contextmanager
def clocked(url: str, seconds: list[float]) -> Iterator[Database]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    database = Database(url, clock=lambda: start + timedelta(seconds=seconds[0]))
    yield database
    database.dispose()


def test_a_helper_makes_room_for_a_job_that_nobody_else_takes(sqlite_url: str) -> None:
    seconds = [0.0]
    with clocked(sqlite_url, seconds) as database:
        job = shared(database)
        ask(database, job.job_id, 2)
        helper = claim(database, "other")

        def is_wanted() -> bool:
            with database.reader() as session:
                return job_helpers.is_wanted_elsewhere(session, helper.job_id)

        seconds[0] = 10.0
        assert not is_wanted()  # another helper waits, which is no reason
        enqueue(database, kind="export")
        assert not is_wanted()
        seconds[0] = 16.0
        assert is_wanted()

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.states import JOB_MOVES, OVER_JOB_STATES, JobState
from app.errors import Conflict, LeaseLost
from app.models import Job
from app.services.jobs import job_leases, job_reports, jobs, workers
from app.services.jobs.job_reports import Scalar, StepSample
from tests.services.jobs.test_jobs import claim, claim_new, enqueue, read


class Clock:
    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def tick(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(sqlite_url: str, clock: Clock) -> Database:
    return Database(sqlite_url, clock=clock)


def test_the_highest_priority_goes_first_then_the_oldest(any_database: Database) -> None:
    plain, older, urgent = (enqueue(any_database, priority=priority) for priority in (0, 0, 1))
    order = [claim(any_database).job_id for _ in range(3)]
    assert order == [urgent, plain, older]


def test_a_worker_takes_jobs_of_its_queues_only(database: Database) -> None:
    enqueue(database, queue="gpu")
    with database.transaction() as session:
        assert job_leases.claim(session, "w", ["cpu"], lease_s=1) is None


def test_workers_that_claim_at_once_never_share_a_job(any_database: Database) -> None:
    made = {enqueue(any_database) for _ in range(24)}

    def claim_all(worker: int) -> list[int]:
        mine: list[int] = []
        while True:
            with any_database.transaction() as session:
                claimed = job_leases.claim(session, f"w{worker}", ["gpu"], lease_s=40)
            if claimed is None:
                return mine
            mine.append(claimed.job_id)

    with ThreadPoolExecutor(6) as pool:
        taken = [job for mine in pool.map(claim_all, range(6)) for job in mine]
    assert sorted(taken) == sorted(made)


def test_every_write_under_an_old_token_is_refused(timed: Database, clock: Clock) -> None:
    old = claim_new(timed)
    clock.tick(41)
    with timed.transaction() as session:
        assert [job.state for job in job_leases.reap(session)] == [JobState.QUEUED]
    new = claim(timed)
    assert new.job_id == old.job_id
    writes: list[Callable[[Session], object]] = [
        lambda s: job_leases.heartbeat(s, old.job_id, old.lease_token, lease_s=40),
        lambda s: job_leases.look(s, old.job_id, old.lease_token),
        lambda s: job_leases.progress(s, old.job_id, old.lease_token, 1, 2),
        lambda s: job_reports.record_metrics(s, old.job_id, old.lease_token, []),
        lambda s: job_reports.record_samples(s, old.job_id, old.lease_token, []),
        lambda s: job_leases.succeed(s, old.job_id, old.lease_token, {}),
        lambda s: job_leases.fail(s, old.job_id, old.lease_token, "x"),
        lambda s: job_leases.requeue(s, old.job_id, old.lease_token),
        lambda s: job_leases.died(s, old.job_id, old.lease_token, "x"),
        lambda s: job_leases.cancelled(s, old.job_id, old.lease_token),
    ]
    for write in writes:
        with pytest.raises(LeaseLost), timed.transaction() as session:
            write(session)
    job = read(timed, old.job_id)
    assert (job.state, job.lease_token) == (JobState.RUNNING, new.lease_token)


def test_a_heartbeat_keeps_the_reaper_away(timed: Database, clock: Clock) -> None:
    claimed = claim_new(timed)
    for _ in range(5):
        clock.tick(30)
        with timed.transaction() as session:
            job_leases.heartbeat(session, claimed.job_id, claimed.lease_token, lease_s=40)
        with timed.transaction() as session:
            assert job_leases.reap(session) == []


def test_a_lease_that_ended_but_was_not_reaped_can_be_renewed(
    timed: Database, clock: Clock
) -> None:
    claimed = claim_new(timed)
    clock.tick(1000)
    with timed.transaction() as session:
        job_leases.heartbeat(session, claimed.job_id, claimed.lease_token, lease_s=40)
    with timed.transaction() as session:
        assert job_leases.reap(session) == []


def test_three_deaths_put_a_job_into_quarantine(database: Database) -> None:
    job_id = enqueue(database)
    states = []
    for _ in range(3):
        claimed = claim(database)
        with database.transaction() as session:
            job_leases.record_log(session, job_id, claimed.lease_token, "last words")
            job_leases.died(session, job_id, claimed.lease_token, "SIGKILL")
        states.append(read(database, job_id).state)
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.QUARANTINED]
    with database.reader() as session:
        assert {attempt.log for attempt in jobs.attempts(session, job_id)} == {"last words"}


def test_a_retry_takes_no_death_back(timed: Database, clock: Clock) -> None:
    claimed = claim_new(timed)
    with timed.transaction() as session:
        job_leases.died(session, claimed.job_id, claimed.lease_token, "SIGKILL")
        assert job_leases.claim(session, "w", ["gpu"], lease_s=40)
    clock.tick(60)
    with timed.transaction() as session:
        job_leases.reap(session)
        jobs.cancel(session, claimed.job_id, actor_id=None)
        jobs.retry(session, claimed.job_id, actor_id=None)
        totals = workers.totals(session)
    assert read(timed, claimed.job_id).deaths == 0
    assert (totals.deaths, totals.leases_lost) == (2, 1)


def test_a_retry_takes_no_failure_back(database: Database) -> None:
    claimed = claim_new(database)
    with database.transaction() as session:
        job_leases.fail(session, claimed.job_id, claimed.lease_token, "the disk is full")
        before = workers.totals(session)
        jobs.retry(session, claimed.job_id, actor_id=None)
        after = workers.totals(session)
    assert (before.failures, before.by_state) == (1, {"failed": 1})
    assert (after.failures, after.by_state) == (1, {"queued": 1})


def test_giving_a_job_back_is_free_however_often(database: Database) -> None:
    job_id = enqueue(database, max_attempts=2)
    for _ in range(6):
        claimed = claim(database)
        with database.transaction() as session:
            job_leases.requeue(session, job_id, claimed.lease_token)
    job = read(database, job_id)
    assert (job.state, job.attempts, job.deaths) == (JobState.QUEUED, 0, 0)


def test_what_may_pass_next_time_is_tried_later_and_later(timed: Database, clock: Clock) -> None:
    job_id = enqueue(timed, max_attempts=4)
    waits = []
    for _ in range(3):
        claimed = claim(timed)
        with timed.transaction() as session:
            job_leases.fail(session, job_id, claimed.lease_token, "disk full", is_transient=True)
        until = read(timed, job_id).not_before
        assert until is not None
        with timed.transaction() as session:
            assert job_leases.claim(session, "w", ["gpu"], lease_s=40) is None
        waits.append((until - clock.moment).total_seconds())
        clock.moment = until
    assert waits == sorted(set(waits))
    claimed = claim(timed)
    with timed.transaction() as session:
        job_leases.fail(session, job_id, claimed.lease_token, "disk full", is_transient=True)
    assert read(timed, job_id).state == JobState.FAILED


def test_a_wrong_job_fails_at_once(database: Database) -> None:
    claimed = claim_new(database)
    with database.transaction() as session:
        job_leases.fail(session, claimed.job_id, claimed.lease_token, "seven is not a colour")
    job = read(database, claimed.job_id)
    assert (job.state, job.error) == (JobState.FAILED, "seven is not a colour")


def test_a_job_that_is_to_be_cancelled_does_not_go_back(database: Database) -> None:
    claimed = claim_new(database)
    with database.transaction() as session:
        jobs.cancel(session, claimed.job_id, actor_id=None)
    with database.transaction() as session:
        job_leases.died(session, claimed.job_id, claimed.lease_token, "SIGKILL")
    assert read(database, claimed.job_id).state == JobState.CANCELLED


def test_metrics_of_a_repeated_step_replace_each_other(any_database: Database) -> None:
    claimed = claim_new(any_database)
    for value in (3.0, 2.0):
        rows = [Scalar(1, "loss", value), Scalar(1, "odd", math.inf), Scalar(2, "loss", math.nan)]
        with any_database.transaction() as session:
            job_reports.record_metrics(session, claimed.job_id, claimed.lease_token, rows)
    with any_database.reader() as session:
        kept = [(row.step, row.name, row.value) for row in jobs.metrics(session, claimed.job_id)]
    assert kept == [(1, "loss", 2.0)]


def test_texts_from_models_are_stored_whatever_they_hold(any_database: Database) -> None:
    claimed = claim_new(any_database)
    key = (claimed.job_id, claimed.lease_token)
    with any_database.transaction() as session:
        kept = StepSample(1, 0, "a\x00b", "\N{PILE OF POO}", math.nan)
        job_reports.record_samples(session, *key, [kept])
        job_leases.progress(session, *key, 1, 2, "n" * 500)
        job_leases.record_log(session, *key, "\x00" + "l" * 40_000)
    with any_database.reader() as session:
        (sample,) = jobs.samples(session, claimed.job_id)
        (attempt,) = jobs.attempts(session, claimed.job_id)
        job = jobs.get(session, claimed.job_id)
    assert (sample.prompt, sample.completion, sample.score) == ("a�b", "\N{PILE OF POO}", None)
    assert len(attempt.log) == job_leases.LOG_TAIL
    assert len(job.progress_note) == 200


def test_fenced_writes_are_counted(database: Database) -> None:
    job_id = enqueue(database)
    for _ in range(2):
        with database.transaction() as session:
            job_leases.count_fenced(session, job_id)
    assert read(database, job_id).fenced_writes == 2


class JobMachine(RuleBasedStateMachine):
    """One job, workers that come and go, people who press buttons, and time."""

    database: Database
    clock: Clock

    @initialize()
    def enqueue(self) -> None:
        self.job_id = enqueue(self.database, max_attempts=4)
        self.claims: list[job_leases.ClaimedJob] = []
        self.seen = JobState.QUEUED
        self.token = 0
        self.results = 0
        self.counted = (0, 0, 0)

    @rule()
    def claim(self) -> None:
        with self.database.transaction() as session:
            claimed = job_leases.claim(session, "w", ["gpu"], lease_s=40)
        if claimed is not None:
            assert claimed.lease_token > self.token
            self.claims.append(claimed)

    @rule(seconds=st.sampled_from([1, 30, 45, 400]))
    def wait(self, seconds: int) -> None:
        self.clock.tick(seconds)

    @rule()
    def reap(self) -> None:
        with self.database.transaction() as session:
            job_leases.reap(session)

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        name=st.sampled_from(["succeed", "fail", "transient", "requeue", "died", "beat"]),
    )
    def act(self, data: st.DataObject, name: str) -> None:
        claimed = data.draw(st.sampled_from(self.claims))
        key = (claimed.job_id, claimed.lease_token)
        before = self.job()
        is_ours = before.state == JobState.RUNNING and before.lease_token == key[1]
        try:
            with self.database.transaction() as session:
                match name:
                    case "succeed":
                        job_leases.succeed(session, *key, {"lease": key[1]})
                        self.results += 1
                    case "fail":
                        job_leases.fail(session, *key, "no")
                    case "transient":
                        job_leases.fail(session, *key, "no", is_transient=True)
                    case "requeue":
                        job_leases.requeue(session, *key)
                    case "died":
                        job_leases.died(session, *key, "SIGKILL")
                    case "beat":
                        job_leases.heartbeat(session, *key, lease_s=40)
        except LeaseLost:
            assert not is_ours
        else:
            assert is_ours

    @rule(name=st.sampled_from(["cancel", "retry", "stop_here"]))
    def press(self, name: str) -> None:
        try:
            with self.database.transaction() as session:
                getattr(jobs, name)(session, self.job_id, actor_id=None)
        except Conflict:
            pass
        if name == "retry" and self.job().state == JobState.QUEUED:
            self.seen = JobState.QUEUED

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "job_id"):
            return
        job = self.job()
        assert job.lease_token >= self.token
        assert self.results <= 1
        assert (self.results == 1) == (job.state == JobState.SUCCEEDED)
        assert (job.lease_expires_at is not None) == (job.state == JobState.RUNNING)
        assert (job.ended_at is not None) == (job.state in OVER_JOB_STATES)
        assert 0 <= job.deaths <= job_leases.DEATHS_TO_QUARANTINE
        assert 0 <= job.attempts <= job.max_attempts
        assert job.state == self.seen or self.is_reachable(job.state)
        self.check_counters()
        self.seen, self.token = JobState(job.state), job.lease_token

    def check_counters(self) -> None:
        with self.database.reader() as session:
            totals = workers.totals(session)
        counted = (totals.deaths, totals.leases_lost, totals.fenced_writes)
        assert all(new >= old for new, old in zip(counted, self.counted, strict=True))
        self.counted = counted

    def is_reachable(self, state: JobState) -> bool:
        return JobState(state) in JOB_MOVES[self.seen]

    def job(self) -> Job:
        return read(self.database, self.job_id)


def test_whatever_happens_a_job_moves_legally_and_succeeds_once(
    sqlite_template: Path, tmp_path: Path
) -> None:
    class Machine(JobMachine):
        def __init__(self) -> None:
            super().__init__()
            path = tmp_path / "machine.sqlite3"
            path.write_bytes(sqlite_template.read_bytes())
            self.clock = Clock()
            self.database = Database(f"sqlite:///{path}", clock=self.clock)

        def teardown(self) -> None:
            self.database.dispose()

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=25, stateful_step_count=30, deadline=None)
    )

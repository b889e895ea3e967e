"""Completions that several workers sample: the same rows as one worker's, whoever is lost."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db import Database
from app.domain import shard_sizes
from app.domain.states import JobState
from app.errors import LeaseLost
from app.models import Completion, Job, Shard
from app.services.jobs import job_helpers, job_leases, shards, workers
from tests.worker.runs import small
from worker.orders import Interrupted, Order, Orders
from worker.runs import find, help
from worker.runs.data import sampled_completions
from worker.runs.process import shard_work
from worker.runs.process.job_context import JobContext

QUEUES = ("gpu", "cpu")
OTHER = "elsewhere"
Completions = list[tuple[int, int, str, list[int], float]]
Interlude = Callable[[JobContext], None]


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share the work of models that take milliseconds."""
    monkeypatch.setattr(sampled_completions, "CHUNK_PROMPTS", 2)
    monkeypatch.setattr(shard_sizes, "START_S", -100.0)
    monkeypatch.setattr(shard_work, "WAIT_S", 0.01)


@pytest.fixture
def calm(database: Database, tmp_path: Path) -> Iterator[Completions]:
    """What one worker samples in the round that waits in the database."""
    small.up_to(database, tmp_path, "generate")
    alone = small.copied(database, tmp_path, tmp_path / "calm")
    small.run_jobs(alone, tmp_path / "calm")
    assert shards_of(alone) == []
    yield sampled(alone)
    alone.dispose()


def sampled(database: Database) -> Completions:
    query = select(Completion).order_by(Completion.prompt_id, Completion.sample_index)
    with database.reader() as session:
        return [
            (
                row.prompt_id,
                row.sample_index,
                row.text,
                list(row.token_ids or ()),
                row.logprob_sum or 0.0,
            )
            for row in session.scalars(query)
        ]


def shards_of(database: Database) -> list[Shard]:
    with database.reader() as session:
        return list(session.scalars(select(Shard).order_by(Shard.id)))


def job_of(database: Database, kind: str = "generate") -> Job:
    with database.reader() as session:
        return session.scalars(select(Job).where(Job.kind == kind)).one()


def two_workers(database: Database) -> None:
    with database.transaction() as session:
        for name in ("here", OTHER):
            workers.seen(session, workers.Description(name, QUEUES, "CPU", "1"), job_id=None)


def claim_helper(database: Database, folder: Path, orders: Orders | None = None) -> JobContext:
    with database.transaction() as session:
        claimed = job_leases.claim(session, OTHER, QUEUES, lease_s=600)
    assert claimed is not None
    assert claimed.kind == "help"
    return small.context_of(database, claimed, folder, orders)


def generate(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, interlude: Interlude
) -> None:
    """Run the job of the round; something happens with its helper once the work is shared."""
    two_workers(database)
    share, context = shard_work.share, small.claimed(database, folder)

    def share_and_go_on(*args: Any) -> None:
        share(*args)
        interlude(claim_helper(database, folder))

    monkeypatch.setattr(shard_work, "share", share_and_go_on)
    find("generate")(context)
    assert context.is_over


def test_what_a_helper_samples_is_what_the_job_would_have_sampled(
    calm: Completions, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(database, tmp_path, monkeypatch, help.run)
    assert sampled(database) == calm
    assert {(one.worker, one.claims) for one in shards_of(database)} == {(OTHER, 1)}
    helper = job_of(database, "help")
    assert (helper.state, helper.result) == (JobState.SUCCEEDED, {"shards": 4, "rows": 7})
    assert job_of(database).progress_note.endswith(", by 1 workers") is False


def test_a_job_that_nobody_helps_does_its_shards_itself(
    calm: Completions, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(database, tmp_path, monkeypatch, lambda _helper: None)
    assert sampled(database) == calm
    assert {one.worker for one in shards_of(database)} == {"here"}


def test_shards_of_a_helper_that_is_lost_are_done_again_and_its_late_rows_refused(
    calm: Completions, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[JobContext] = []

    def lose(helper: JobContext) -> None:
        """Take two shards, sample one of them, and be lost with the other."""
        draws = iter(range(3))
        store = sampled_completions.store

        def store_once(context: JobContext, *rest: object) -> None:
            if next(draws) == 1:
                raise _Killed
            store(context, *rest)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(sampled_completions, "store", store_once)
            with pytest.raises(_Killed):
                help.run(helper)
        with database.transaction() as session:
            job_leases.died(session, helper.job_id, helper.lease_token, "killed")
        lost.append(helper)

    generate(database, tmp_path, monkeypatch, lose)
    assert sampled(database) == calm
    done = [(one.worker, one.claims) for one in shards_of(database)]
    assert done == [(OTHER, 1), ("here", 2), ("here", 1), ("here", 1)]
    assert job_of(database, "help").state == JobState.CANCELLED  # it waited, and is not needed
    with pytest.raises(LeaseLost):
        sampled_completions.store(lost[0], "late", [])


def test_a_job_that_is_lost_itself_goes_on_with_the_shards_that_are_left(
    calm: Completions, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_helper: JobContext) -> None:
        raise _Killed

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        generate(database, tmp_path, patch, lose)
    job, helper = job_of(database), job_of(database, "help")
    with database.transaction() as session:
        job_leases.died(session, job.id, job.lease_token, "killed")
    # The helper that was asked for goes on without it.
    held = small.context_of(database, _held(helper), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(job_helpers, "is_wanted_elsewhere", lambda *_args: True)
        with pytest.raises(Interrupted, match="makes room"):
            help.run(held)
    held.interrupt()
    assert job_of(database, "help").state == JobState.QUEUED
    find("generate")(small.claimed(database, tmp_path))
    assert sampled(database) == calm
    with database.reader() as session:
        assert len(shards.helpers_of(session, job.id)) == 2, "the second attempt asks again"
    done = [(one.worker, one.claims) for one in shards_of(database)]
    assert done == [(OTHER, 1), *[("here", 1)] * 3], "what was cut is not cut again"


@pytest.mark.parametrize("order", ["cancel", "preempt"])
def test_an_order_to_stop_reaches_whoever_waits_for_shards_of_others(
    calm: Completions,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    order: Order,
) -> None:
    del calm
    two_workers(database)
    orders = Orders()
    context = small.claimed(database, tmp_path, orders)
    share = shard_work.share

    def interlude(*args: Any) -> None:
        share(*args)
        helper = claim_helper(database, tmp_path)
        while shard_work.take(helper, context.job_id) is not None:  # and never ends one
            pass
        orders.give(order)

    monkeypatch.setattr(shard_work, "share", interlude)
    with pytest.raises(Interrupted):
        find("generate")(context)
    context.interrupt()
    is_cancelled = order == "cancel"
    assert job_of(database).state == (JobState.CANCELLED if is_cancelled else JobState.QUEUED)
    assert job_of(database, "help").cancel_requested is is_cancelled


def test_a_helper_that_comes_too_late_loads_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.up_to(database, tmp_path, "generate")
    two_workers(database)
    job = small.claimed(database, tmp_path)
    with database.transaction() as session:
        job_helpers.ask(session, job.job_id, "draw-none", 1)
    monkeypatch.setattr(help, "KINDS", {})
    help.run(claim_helper(database, tmp_path))
    assert job_of(database, "help").result == {"shards": 0, "rows": 0}


@pytest.mark.parametrize(
    ("chunks", "chunk_s", "load_s", "is_worth_it"),
    [(10, 3.0, 1.0, True), (10, 2.0, 1.0, False), (10, 3.0, 10.0, False), (1, 600.0, 1.0, False)],
)
def test_work_is_shared_if_enough_is_left_when_a_helper_has_its_model(
    monkeypatch: pytest.MonkeyPatch, chunks: int, chunk_s: float, load_s: float, is_worth_it: bool
) -> None:
    monkeypatch.setattr(shard_sizes, "START_S", 10.0)
    assert shard_sizes.pays(chunks, chunk_s, load_s) is is_worth_it


@pytest.mark.parametrize(
    ("chunks", "chunk_s", "workers", "size"),
    [(320, 0.5, 2, 10), (320, 10.0, 2, 6), (320, 600.0, 2, 1), (7, 1.0, 3, 1), (320, 0.0, 2, 10)],
)
def test_shards_are_sixteen_for_each_worker_and_at_most_a_minute_long(
    chunks: int, chunk_s: float, workers: int, size: int
) -> None:
    assert shard_sizes.chunks_per_shard(chunks, chunk_s, workers) == size


class _Killed(BaseException):
    """Stands for a kill within this process: nothing that catches errors sees it."""


def _held(job: Job) -> job_leases.ClaimedJob:
    return job_leases.ClaimedJob(
        job.id, job.lease_token, job.kind, job.payload, job.project_id, job.round_id
    )

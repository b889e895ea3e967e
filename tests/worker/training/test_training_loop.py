"""Who follows a loop: what is written, and what becomes of people's orders."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from app.db import Database
from app.models import Job, Metric, TrainingSample
from app.services.jobs import job_leases, jobs
from tests.worker.runs import small
from worker.orders import Interrupted, Order, Orders
from worker.rlhf.core.memory_room import MemoryRoom
from worker.rlhf.core.step_report import Sample, StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import precision
from worker.runs.process.job_context import JobContext
from worker.training import training_loop

STEPS = 5


class Toy:
    """A loop whose one weight counts the steps; its best is the weight of step 2."""

    def __init__(self) -> None:
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.state = TrainingState()

    def run(self) -> Iterator[StepReport]:
        self.state.register({"weight": self.weight}, {})
        while self.state.step < STEPS:
            self.state.step += 1
            step = self.state.step
            with torch.no_grad():
                self.weight.add_(1)
            if step == 2:
                self.state.keep_best(1.0)
            samples = (Sample("asked", f"said at {step}", 0.5),)
            reason = "steps" if step == STEPS else None
            start = (Sample("asked", "said at 0", 0.5),) if step == 1 else ()
            yield StepReport(step, STEPS, {"loss": 1.0 / step}, samples, reason, start)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let this process write no file longer than this, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def orders() -> Orders:
    return Orders()


@pytest.fixture
def context(database: Database, tmp_path: Path, orders: Orders) -> JobContext:
    with database.transaction() as session:
        jobs.enqueue(session, kind="policy", queue="gpu", payload={})
        claimed = job_leases.claim(session, "w", ["gpu"], lease_s=600)
    assert claimed is not None
    return small.context_of(database, claimed, tmp_path, orders)


def follow(context: JobContext, toy: Toy, save_every: int = 100) -> training_loop.LoopEnd:
    return training_loop.follow(context, toy.run(), toy.state, save_every=save_every)


def ordering(orders: Orders, toy: Toy, order: Order, at: int) -> Iterator[StepReport]:
    for report in toy.run():
        if report.step == at:
            orders.give(order)
        yield report


def test_every_step_leaves_its_numbers_samples_and_progress(
    context: JobContext, database: Database
) -> None:
    ended = follow(context, Toy())
    context.flush()
    assert (ended.step, ended.reason) == (STEPS, "steps")
    with database.reader() as session:
        points = session.scalars(select(Metric).order_by(Metric.step)).all()
        assert [(p.step, p.value) for p in points] == [(n, 1.0 / n) for n in range(1, STEPS + 1)]
        samples = session.scalars(select(TrainingSample).order_by(TrainingSample.step)).all()
        assert [one.completion for one in samples] == [f"said at {n}" for n in range(6)]
        assert session.get_one(Job, context.job_id).progress_done == STEPS
    assert list((context.workdir / training_loop.BOARD).iterdir())


@pytest.mark.parametrize("order", ["cancel", "preempt"])
def test_an_order_to_end_is_obeyed_at_the_next_step(
    context: JobContext, orders: Orders, order: Order
) -> None:
    toy = Toy()
    with pytest.raises(Interrupted):
        training_loop.follow(context, ordering(orders, toy, order, at=3), toy.state)
    assert toy.state.step == 3
    assert (context.newest_state() is not None) is (order == "preempt")


def test_what_was_interrupted_goes_on_where_it_was(context: JobContext, orders: Orders) -> None:
    first, second = Toy(), Toy()
    with pytest.raises(Interrupted):
        training_loop.follow(context, ordering(orders, first, "preempt", at=3), first.state)
    orders._order = None  # the next attempt is another process
    assert training_loop.restore(context, second.state)
    ended = follow(context, second)
    assert ended.step == STEPS
    assert second.weight.item() == STEPS


@pytest.mark.parametrize("began_in_bf16", [True, False])
def test_a_run_goes_on_in_the_precision_that_it_began_in(
    context: JobContext, orders: Orders, began_in_bf16: bool
) -> None:
    first, second = Toy(), Toy()
    precision.hold(began_in_bf16)
    assert not training_loop.restore(context, first.state)
    with pytest.raises(Interrupted):
        training_loop.follow(context, ordering(orders, first, "preempt", at=3), first.state)
    precision.hold(not began_in_bf16)  # what another machine, or a loaded one, would measure
    assert training_loop.restore(context, second.state)
    assert precision.has_fast_bf16() is began_in_bf16
    precision.hold(None)


def test_stop_here_keeps_the_best(context: JobContext, orders: Orders) -> None:
    toy = Toy()
    ended = training_loop.follow(context, ordering(orders, toy, "stop_here", at=4), toy.state)
    assert (ended.step, ended.reason) == (4, "stopped by a person")
    assert toy.weight.item() == 2


def test_a_state_saved_at_the_end_ends_at_once(context: JobContext) -> None:
    follow(context, Toy(), save_every=1)
    again = Toy()
    assert training_loop.restore(context, again.state)
    ended = follow(context, again)
    assert ended.step == STEPS
    assert again.weight.item() == STEPS
    assert (ended.reason, ended.metrics) == ("steps", {"loss": 1.0 / STEPS})


def test_samples_are_kept_of_the_reports_that_are_chosen(
    context: JobContext, database: Database
) -> None:
    toy = Toy()
    training_loop.follow(
        context, toy.run(), toy.state, keeps_samples=lambda report: report.step == 3
    )
    context.flush()
    with database.reader() as session:
        kept = session.scalars(select(TrainingSample.step).order_by(TrainingSample.step))
        assert kept.all() == [0, 3], "the first report brings those of the start"


def test_a_full_disk_costs_a_state_and_not_the_run(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy()
    loop = toy.run()
    next(loop)
    kept = context.save_state(1, toy.state.save)
    save = toy.state.save

    def on_a_full_disk(folder: Path) -> None:
        with files_of_at_most(6000):  # less than a state has, so that it breaks off half-way
            save(folder)

    monkeypatch.setattr(toy.state, "save", on_a_full_disk)
    ended = training_loop.follow(context, loop, toy.state, save_every=1)
    assert ended.step == STEPS
    assert context.newest_state() == kept
    assert [path.name for path in context.workdir.glob("*state*")] == [kept.name]


def test_what_a_loop_notes_of_its_memory_is_said_at_that_step(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, str]] = []
    toy, room = Toy(), MemoryRoom()
    monkeypatch.setattr(JobContext, "say", lambda _self, text: said.append((toy.state.step, text)))

    def running_out() -> Iterator[StepReport]:
        for report in toy.run():
            if report.step == 3:
                room.notes.append("Memory ran out.")
            yield report

    training_loop.follow(context, running_out(), toy.state, room=room)
    assert said == [(3, "Memory ran out.")]

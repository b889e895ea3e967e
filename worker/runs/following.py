"""Follows a training loop: curves, samples, progress and states out, people's orders in.

The loop knows nothing of rows or orders; it yields reports and is consistent at each. TensorBoard
files grow beside the training states and end up beside the checkpoint.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from worker.rlhf.report import StepReport
from worker.rlhf.tensorboard import EventLog
from worker.rlhf.training_state import TrainingState
from worker.runs.context import Interrupted, JobContext

SAVE_EVERY_S = 30.0
BOARD = "tensorboard"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a loop ended: its last report, and why it stopped."""

    step: int
    steps_total: int
    reason: str
    metrics: dict[str, float]


def restore(context: JobContext, state: TrainingState) -> bool:
    """Put the newest whole training state into `state`; say whether there was one."""
    newest = context.newest_state()
    if newest is None:
        return False
    state.restore(newest)
    return True


def follow(
    context: JobContext,
    loop: Iterator[StepReport],
    state: TrainingState,
    *,
    save_every: int | None = None,
    note: str = "",
) -> Ended:
    """Run a loop to its end, or to where people ask it to stop.

    Args:
        context: of the job.
        loop: yields a report per optimiser step.
        state: what the loop mutates; saved every `save_every` steps, and after half a minute.
        save_every: steps between two saves.
        note: shown beside the progress.

    Raises:
        Interrupted: the job was cancelled, or has to make room; its state is saved.
        LeaseLost: somebody else has the job by now.

    """
    saved_at = time.monotonic()
    last: Ended | None = None
    with EventLog(context.workdir / BOARD) as board:
        for report in loop:
            context.metrics(report.step, report.metrics)
            board.write(report)
            if report.samples:
                context.samples(report.step, report.samples)
            context.report(report.step, report.steps_total, note)
            last = Ended(
                report.step, report.steps_total, report.stop_reason or "", dict(report.metrics)
            )
            order = context.should_stop()
            is_time = save_every is not None and report.step % save_every == 0
            if order == "preempt" or is_time or time.monotonic() - saved_at > SAVE_EVERY_S:
                context.flush()  # a curve must not end before the state it belongs to
                context.save_state(report.step, state.save)
                saved_at = time.monotonic()
            if order in {"cancel", "preempt"}:
                raise Interrupted(f"job {context.job_id} was asked to end at step {report.step}")
            if order == "stop_here" and report.stop_reason is None:
                return _stopped(last, state)
    if last is None:  # the restored state was the end already
        return Ended(state.step, state.step, str(state.values.get("stop_reason", "")), {})
    return last


def _stopped(last: Ended, state: TrainingState) -> Ended:
    state.load_best()
    return Ended(last.step, last.steps_total, "stopped by a person", last.metrics)

"""Follows a training loop: curves, samples, progress and states out, people's orders in.

The loop knows nothing of rows or orders; it yields reports and is consistent at each. TensorBoard
files grow beside the training states and end up beside the checkpoint.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import structlog

from worker import artifacts
from worker.rlhf.core.step_report import Sample, StepReport
from worker.rlhf.core.tensorboard import EventLog
from worker.rlhf.core.training_state import TrainingState
from worker.runs.process.job_context import Interrupted
from worker.ticket import Order

log = structlog.get_logger(__name__)

SAVE_EVERY_S = 30.0
BOARD = "tensorboard"
LAST = "last_report"  # under which a training state keeps what was said at its step


class Place(Protocol):
    """Where a loop runs: a job's context, or a folder of files alone."""

    @property
    def title(self) -> str:
        """What the run is called where it is spoken of."""

    @property
    def workdir(self) -> Path:
        """A local folder that survives attempts."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Take a point of each curve."""

    def samples(self, step: int, samples: tuple[Sample, ...]) -> None:
        """Take completions for people to read."""

    def report(self, done: int, total: int, note: str = "") -> None:
        """Take how far the run is."""

    def should_stop(self) -> Order | None:
        """Say what was asked of the run."""

    def flush(self) -> None:
        """Write what waits."""

    def save_state(self, step: int, write: artifacts.Write) -> Path:
        """Save a training state, whole or not at all."""

    def newest_state(self) -> Path | None:
        """Return the newest training state that verifies."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a loop ended: its last report, and why it stopped."""

    step: int
    steps_total: int
    reason: str
    metrics: dict[str, float]


def restore(context: Place, state: TrainingState) -> bool:
    """Put the newest whole training state into `state`; say whether there was one."""
    newest = context.newest_state()
    if newest is None:
        return False
    state.restore(newest)
    return True


def follow(
    context: Place,
    loop: Iterator[StepReport],
    state: TrainingState,
    *,
    save_every: int | None = None,
    keeps_samples: Callable[[StepReport], bool] = lambda _report: True,
    note: str = "",
) -> Ended:
    """Run a loop to its end, or to where people ask it to stop.

    Args:
        context: of the job, or the folder the run is in.
        loop: yields a report per optimiser step.
        state: what the loop mutates; saved every `save_every` steps, and after half a minute.
        save_every: steps between two saves.
        keeps_samples: says whose samples are kept beside the curves; TensorBoard has all.
        note: shown beside the progress.

    Raises:
        Interrupted: the job was cancelled, or has to make room; its state is saved.
        LeaseLost: somebody else has the job by now.

    """
    saved_at = time.monotonic()
    last: Ended | None = None
    with EventLog(context.workdir / BOARD, after=state.step) as board:
        for report in loop:
            context.metrics(report.step, report.metrics)
            board.write(report)
            if report.samples and keeps_samples(report):
                context.samples(report.step, report.samples)
            context.report(report.step, report.steps_total, note)
            last = Ended(
                report.step, report.steps_total, report.stop_reason or "", dict(report.metrics)
            )
            order = context.should_stop()
            is_time = save_every is not None and report.step % save_every == 0
            if order == "preempt" or is_time or time.monotonic() - saved_at > SAVE_EVERY_S:
                context.flush()  # a curve must not end before the state it belongs to
                state.values[LAST] = {"reason": last.reason, "metrics": dict(last.metrics)}
                _save(context, report.step, state)
                saved_at = time.monotonic()
            if order in {"cancel", "preempt"}:
                raise Interrupted(f"{context.title} was asked to end at step {report.step}")
            if order == "stop_here" and report.stop_reason is None:
                return _stopped(last, state)
    return last or _restored(state)


def _save(context: Place, step: int, state: TrainingState) -> None:
    """Save the state; where it cannot be written the run goes on, and the ones before stay."""
    try:
        context.save_state(step, state.save)
    except OSError as error:
        log.warning("training state was not saved", run=context.title, step=step, reason=str(error))


def _restored(state: TrainingState) -> Ended:
    """Return how a run ended whose restored state was the end already."""
    last = cast(dict[str, Any], state.values.get(LAST, {}))
    reason = last.get("reason") or state.values.get("stop_reason", "")
    return Ended(state.step, state.step, str(reason), dict(last.get("metrics", {})))


def _stopped(last: Ended, state: TrainingState) -> Ended:
    state.load_best()
    return Ended(last.step, last.steps_total, "stopped by a person", last.metrics)

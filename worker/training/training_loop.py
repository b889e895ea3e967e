"""Runs a training loop: reports metrics, samples and progress, saves its state, obeys orders.

The loop knows nothing of rows or orders; it yields reports, and its state is consistent at each.
TensorBoard files are written beside the training states and published with the checkpoint.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeVar, cast

import structlog

from worker import artifacts
from worker.orders import Interrupted, Order, StoppedHere
from worker.rlhf.core.memory_room import MemoryRoom
from worker.rlhf.core.step_report import Sample, StepReport
from worker.rlhf.core.tensorboard import EventLog
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import precision

log = structlog.get_logger(__name__)

T = TypeVar("T")

SAVE_EVERY_S = 30.0
BOARD = "tensorboard"
CPU_BF16 = "cpu_bf16"  # where a training state keeps whether the run computes in bf16 on CPUs
LAST = "last_report"  # where a training state keeps the report of its step


class RunPlace(Protocol):
    """Where a run writes and reports: the context of a job, or a folder."""

    @property
    def title(self) -> str:
        """The name of the run in messages."""

    @property
    def is_first(self) -> bool:
        """Whether this process evaluates and publishes, if several share the run."""

    @property
    def workdir(self) -> Path:
        """A local folder that survives attempts."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""

    def samples(self, step: int, samples: tuple[Sample, ...]) -> None:
        """Keep completions for people to read."""

    def report(self, done: int, total: int, note: str = "") -> None:
        """Show the progress of the run."""

    def should_stop(self) -> Order | None:
        """Return the order in force, if any."""

    def say(self, text: str) -> None:
        """Show or log a sentence for people."""

    def once(self, act: Callable[[], T]) -> T:
        """Do something once, however many processes share the run."""

    def leave_team(self) -> None:
        """End the connections to the other processes, if several share the run."""

    def flush(self) -> None:
        """Write buffered reports."""

    def save_state(self, step: int, write: artifacts.Write) -> Path:
        """Save a training state atomically."""

    def newest_state(self) -> Path | None:
        """Return the newest training state that verifies."""


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """How a loop ended: its last step and metrics, and the reason."""

    step: int
    steps_total: int
    reason: str
    metrics: dict[str, float]

    @property
    def summary(self) -> dict[str, Any]:
        """The last metrics, the number of steps and the reason for the end."""
        return {**self.metrics, "steps": self.step, "stop_reason": self.reason}


def restore(place: RunPlace, state: TrainingState) -> bool:
    """Restore the newest complete training state; return whether there was one.

    On CPUs the run computes in the precision that it began in, or in the faster one if it begins.
    """
    newest = place.newest_state()
    if newest is None:
        state.values[CPU_BF16] = place.once(precision.has_fast_bf16)  # processes must not differ
    else:
        state.restore(newest)
        place.say(f"Continuing after step {state.step}.")
    began_in = state.values.get(CPU_BF16)
    precision.hold(None if began_in is None else bool(began_in))
    return newest is not None


def follow(
    place: RunPlace,
    loop: Iterator[StepReport],
    state: TrainingState,
    *,
    save_every: int | None = None,
    keeps_samples: Callable[[StepReport], bool] = lambda _report: True,
    note: str = "",
    room: MemoryRoom | None = None,
) -> LoopEnd:
    """Run a loop to its end, or until it is asked to stop.

    Args:
        place: the context of the job, or the folder of the run.
        loop: yields a report after each optimizer step.
        state: what the loop updates; saved every `save_every` steps, and every 30 seconds.
        save_every: steps between two saves.
        keeps_samples: whether the samples of a report are kept; TensorBoard has all.
        note: shown with the progress.
        room: of the loop's forward passes; what it notes is said.

    Raises:
        Interrupted: the job was canceled or preempted; its state is saved.
        LeaseLost: another worker has the job.

    """
    saved_at = time.monotonic()
    last: LoopEnd | None = None
    has_stopped = Event()
    with EventLog(place.workdir / BOARD, after=state.step) as board:
        for report in _until_stopped(loop, has_stopped):
            _say_notes(place, room)
            place.metrics(report.step, report.metrics)
            board.write(report)
            if report.start_samples:
                place.samples(0, report.start_samples)
            if report.samples and keeps_samples(report):
                place.samples(report.step, report.samples)
            place.report(report.step, report.steps_total, note)
            last = LoopEnd(
                report.step, report.steps_total, report.stop_reason or "", dict(report.metrics)
            )
            order = place.should_stop()
            is_time = save_every is not None and report.step % save_every == 0
            is_due = order == "preempt" or is_time or time.monotonic() - saved_at > SAVE_EVERY_S
            if _is_due(place, state, is_due):
                place.flush()  # a curve must not end before the state it belongs to
                state.values[LAST] = {"reason": last.reason, "metrics": dict(last.metrics)}
                _save(place, report.step, state)
                saved_at = time.monotonic()
            if order in {"cancel", "preempt"}:
                raise Interrupted(f"{place.title} was asked to stop at step {report.step}")
            if order == "stop_here" and report.stop_reason is None:
                return _stopped(last, state)
    if has_stopped.is_set():
        return _stopped(last or _restored(state), state)
    return last or _restored(state)


def _until_stopped(loop: Iterator[StepReport], has_stopped: Event) -> Iterator[StepReport]:
    """Yield the reports of a loop, up to a step that it was told to make no more."""
    try:
        yield from loop
    except StoppedHere:
        has_stopped.set()


def _say_notes(place: RunPlace, room: MemoryRoom | None) -> None:
    if room is not None:
        for text in room.notes:
            place.say(text)
        room.notes.clear()


def _is_due(place: RunPlace, state: TrainingState, is_due: bool) -> bool:
    """Return whether to save now; what processes divide, they save at the same step."""
    return place.once(lambda: is_due) if state.is_divided else is_due


def _save(place: RunPlace, step: int, state: TrainingState) -> None:
    """Save the state; if that fails, the run continues and earlier states are kept."""
    save = _save_together if state.is_divided else _save_alone
    try:
        save(place, step, state)
    except OSError as error:
        log.warning("training state was not saved", run=place.title, step=step, reason=str(error))


def _save_alone(place: RunPlace, step: int, state: TrainingState) -> None:
    place.save_state(step, state.save)


def _save_together(place: RunPlace, step: int, state: TrainingState) -> None:
    """Save in the folder that the first process makes; every process writes its parts there."""
    if not place.is_first:
        folder = place.once(_nowhere)  # where the first process is writing
        if folder is not None:
            state.save_parts(folder)
        return
    shared: list[Path] = []

    def write(folder: Path) -> None:
        shared.append(folder)
        place.once(lambda: folder)
        state.save(folder)

    try:
        place.save_state(step, write)
    finally:
        if not shared:  # the others wait to be told
            place.once(_nowhere)


def _nowhere() -> Path | None:
    return None


def _restored(state: TrainingState) -> LoopEnd:
    """Return how a run ended whose restored state was already final."""
    last = cast(dict[str, Any], state.values.get(LAST, {}))
    reason = last.get("reason") or state.values.get("stop_reason", "")
    return LoopEnd(state.step, state.step, str(reason), dict(last.get("metrics", {})))


def _stopped(last: LoopEnd, state: TrainingState) -> LoopEnd:
    state.load_best()
    return LoopEnd(last.step, last.steps_total, "stopped by a person", last.metrics)

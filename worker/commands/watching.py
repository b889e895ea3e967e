"""How long-running commands show progress, and how they are stopped.

People get a progress bar with rate and time left on standard error, or an occasional line if there
is no terminal; programs get one JSON object per line on standard output.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Final, NoReturn

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from app.cli.console import emit, err, say
from app.errors import AttuneError, Invalid
from worker import launcher
from worker.orders import Interrupted, Orders

INTERRUPTED: Final = 130
FAILED: Final = 1
LINE_EVERY_S: Final = 10.0
HEADLINE: Final = ("loss", "reward/normalised", "kl/k1", "accuracy", "heldout/reward")


class Watching:
    """Shows a run; a `run_folder.Watcher`."""

    def __init__(self, *, as_json: bool, is_quiet: bool = False) -> None:
        self._as_json = as_json
        self._is_quiet = is_quiet
        self._headline = ""
        self._said_at = self._started_at = time.monotonic()
        self._began_with: int | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[headline]}"),
            console=err,
            disable=as_json or is_quiet or not err.is_terminal,
        )
        self._task = self._bar.add_task("preparing", total=None, headline="")

    def __enter__(self) -> "Watching":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a sentence for people."""
        if not self._as_json and not self._is_quiet:
            err.print(text, soft_wrap=True, markup=False)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of a step."""
        if self._as_json:
            emit({"event": "step", "step": step, "metrics": dict(metrics)})
            sys.stdout.flush()
        shown = [f"{name} {metrics[name]:.3f}" for name in HEADLINE if name in metrics]
        self._headline = "  ".join(shown[:3])

    def progress(self, done: int, total: int, note: str) -> None:
        """Show the progress of the run."""
        if self._began_with is None:
            self._began_with = max(done - 1, 0)
            self._started_at = time.monotonic()
            self._bar.reset(self._task, total=total, completed=done)
        self._bar.update(
            self._task, completed=done, total=total, description=note, headline=self._headline
        )
        is_quiet = self._as_json or err.is_terminal
        if not is_quiet and (done == total or time.monotonic() - self._said_at >= LINE_EVERY_S):
            self._said_at = time.monotonic()
            pace = self._pace(done, total)
            self.say(f"{note}: {done} of {total}{pace}  {self._headline}".rstrip())

    def _pace(self, done: int, total: int) -> str:
        seconds = time.monotonic() - self._started_at
        completed = done - (self._began_with or 0) - 1  # the clock starts at the first
        if completed < 1 or seconds <= 0:
            return ""
        left = (total - done) * seconds / completed
        return f", {completed / seconds:.2f} per second, {left:.0f} s left"


class _Rate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing before it is known."""
        return Text("" if not task.speed else f"{task.speed:.2f}/s")


@contextmanager
def ending_on_signals(orders: Orders, watching: Watching) -> Iterator[None]:
    """End the run after its step, with its state saved, on a signal; at once on a second one."""

    def ask(number: int, _frame: object) -> None:
        if orders.order is not None:
            raise KeyboardInterrupt
        orders.give("preempt")
        watching.say("Saving and stopping after this step; interrupt again to stop immediately.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def load(module: str) -> ModuleType:
    """Import a module that needs torch, which is slow; hide other libraries' progress bars.

    The garbage collector is off meanwhile and does not look at what was imported afterwards: going
    through the libraries' objects again and again takes a good part of the time and frees nothing.
    Threads of torch wait as those of a job do.
    """
    launcher.let_threads_sleep(os.environ)
    was_on = gc.isenabled()
    gc.disable()
    try:
        imported = import_module(module)
        import_module("transformers.utils.logging").disable_progress_bar()
    finally:
        if was_on:
            gc.enable()
    gc.freeze()
    return imported


@contextmanager
def refusing(
    *, is_first: bool = True, leave_status: Callable[[int], int] = lambda status: status
) -> Iterator[None]:
    """Turn the learning core's errors into messages, and an interruption into its exit status.

    Args:
        is_first: whether this process reports for the run.
        leave_status: takes the exit status of the run and returns that of this process.
    """
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        reason = f"{str(error)[:1].upper()}{str(error)[1:]}. " if str(error) else ""
        if is_first:
            say(f"{reason}The same command continues from what was saved.")
        raise typer.Exit(leave_status(INTERRUPTED)) from error
    except AttuneError as error:
        if leave_status(FAILED) == FAILED:
            raise
        _refuse(error, is_first)
    except ValueError as error:  # the learning core does not know the app's errors
        if leave_status(FAILED) == FAILED:
            raise Invalid(str(error)) from error
        _refuse(error, is_first)


def _refuse(error: Exception, is_first: bool) -> NoReturn:
    """End one of several processes; the first prints the reason."""
    if is_first:
        err.print(str(error), soft_wrap=True, markup=False)
    raise typer.Exit(0) from error

"""A line of progress on standard error in a terminal, or below the cell of a notebook.

Where neither is, such as in a script's log, nothing is shown.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Meter:
    """Shows what is waited for, and how much of it is done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def show(self, what: str, done: float = 0, total: float | None = None) -> None:
        """Say what is going on; without a total the bar only moves."""
        self._progress.update(self._task, description=what, completed=done, total=total or None)


@contextmanager
def meter(shown: bool | None = None) -> Iterator[Meter]:
    """Provide a meter that goes away at the end; by default it is shown to people only."""
    console = Console(stderr=True)
    if shown is None:
        shown = console.is_terminal or console.is_jupyter
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        yield Meter(progress)

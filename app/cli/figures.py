"""`figures`: the process that refreshes the figures of large projects.

Its module imports nothing of the web side, which would double the memory that the process begins
with.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import Annotated

import typer

from app import logs
from app.db import Database
from app.services.quality import figure_refresher
from app.settings import load

_RETURN_FROM = 1 << 17  # bytes


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(figures)


def figures(
    parent: Annotated[int | None, typer.Option(hidden=True, help="End with this process.")] = None,
) -> None:
    """Refresh the figures of large projects until a signal to stop; `serve` starts this itself."""
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    if hasattr(os, "nice"):
        os.nice(10)  # labeling comes first
    _return_memory()
    refresher = figure_refresher.Refresher(Database(settings.database, pool_size=2))
    signal.signal(signal.SIGTERM, lambda *_: refresher.stop())
    with suppress(KeyboardInterrupt):
        refresher.run(lambda: parent is None or os.getppid() == parent)


def _return_memory() -> None:
    """Have glibc give arrays back to the system as soon as they are freed.

    Otherwise it keeps those of up to 32 MiB for later, and a heap for each thread.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((-1, _RETURN_FROM), (-3, _RETURN_FROM), (-8, 1)):
            mallopt(option, value)  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX

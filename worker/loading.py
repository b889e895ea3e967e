"""Loads modules without taking the processor from people who label on the same machine."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from threading import get_native_id
from types import ModuleType
from typing import Final

NICENESS: Final = 10


def load_aside(name: str) -> ModuleType:
    """Import a module on a thread that gives way to other processes.

    On Linux each thread has a niceness of its own. That of the whole process can be raised but not
    lowered again, and a process that holds a lock should not wait for the processor. Where a thread
    has none of its own, or the system refuses the change, the import has the usual priority.

    Raises:
        ImportError: as `import_module` does.
    """
    with ThreadPoolExecutor(1, initializer=_give_way) as aside:
        return aside.submit(import_module, name).result()


def _give_way() -> None:
    if sys.platform != "linux":
        return
    with suppress(OSError):  # as in a sandbox; no job fails for it
        thread = get_native_id()
        nicer = min(os.getpriority(os.PRIO_PROCESS, thread) + NICENESS, 19)
        os.setpriority(os.PRIO_PROCESS, thread, nicer)

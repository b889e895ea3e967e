"""Ends a process with the one that started it, also when that one was killed."""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LOOK_EVERY_S: Final = 1.0
_GRACE_S: Final = 30.0


def signal_at_death(number: signal.Signals) -> None:
    """Ask the kernel to signal this process when the thread that started it ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)


def end_with(parent: int) -> None:
    """Terminate this process once its parent is gone, and kill it if it does not end in time.

    Whoever starts the process must be a thread that outlives it.
    """
    signal_at_death(signal.SIGTERM)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()

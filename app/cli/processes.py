"""Child processes of `up` and `demo` that run other `attune` commands."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from app.queue import QUEUES

STOP_TIMEOUT_S = 20.0
LANES: Final[Mapping[str, tuple[str, ...]]] = {
    f"{queue}-worker": ("worker", "--queues", queue) for queue in QUEUES
}
"""A worker for each queue, by name: an export must not wait until a training is over."""


class Child:
    """An `attune` command of this installation in its own process, which ends with this one.

    It must be started by a thread that outlives it, as `keep_alive` does.

    Args:
        name: its name in messages.
        arguments: the arguments after `attune`.
        environment: variables added to the environment of this process.
        log: a file for its output; None for the terminal.
        inherits: file descriptors that it inherits.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        inherits: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._arguments = [sys.executable, "-m", "app.cli.main", *_with_parent(), *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._log_path = log
        self._inherits = tuple(inherits)
        self._log: IO[bytes] | None = None
        self._stopping = threading.Event()
        self.process = self._start()

    @property
    def is_running(self) -> bool:
        """Whether the process is running."""
        return self.process.poll() is None

    def keep_alive(self) -> None:
        """Restart the process whenever it ends, until `stop` is called."""
        while not self._stopping.is_set():
            self.process.wait()
            if self._stopping.wait(1.0):
                return
            self.process = self._start()

    def stop(self) -> None:
        """Terminate the process, and kill it if it does not end in time."""
        self._stopping.set()
        if self.is_running:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._log is not None:
            self._log.close()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._log_path is not None and self._log is None:
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            self._log = self._log_path.open("ab")
        return subprocess.Popen(
            self._arguments,
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
            pass_fds=self._inherits,
        )


def _with_parent() -> list[str]:
    return ["--parent", str(os.getpid())]

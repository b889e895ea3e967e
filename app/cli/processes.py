"""Children of `up` and `demo`: another `attune` command in its own process."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

STOP_TIMEOUT_S = 20.0


class Child:
    """A running `attune …` of this installation.

    Args:
        name: how people call it.
        arguments: what comes after `attune`.
        environment: names added to this process's environment.
        log: a file for its output; None leaves it on the terminal.
        inherits: file descriptors that it gets under the same numbers.
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
        self._arguments = [sys.executable, "-m", "app.cli.main", *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._log_path = log
        self._inherits = tuple(inherits)
        self._log: IO[bytes] | None = None
        self._stopping = threading.Event()
        self.process = self._start()

    @property
    def is_running(self) -> bool:
        """True until the process has ended."""
        return self.process.poll() is None

    def keep_alive(self) -> None:
        """Start the process again whenever it ends, until `stop`."""
        while not self._stopping.is_set():
            self.process.wait()
            if self._stopping.wait(1.0):
                return
            self.process = self._start()

    def stop(self) -> None:
        """Ask the process to end, and insist after a while."""
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

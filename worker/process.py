"""The operating-system process of one job: start it, pass it orders, wait for it, kill it."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO

from worker.launcher import environment
from worker.orders import Order
from worker.ticket import Ticket


class Process:
    """A fresh process in its own session; its process group is killed when it ends.

    It must be made, and waited for, by one thread that outlives it: on Linux the kernel kills the
    process when the thread that started it ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        output: Path,
        grace_s: float,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._grace_s = grace_s
        self._ordered: Order | None = None
        self._kill_at: float | None = None
        self._was_killed = False
        self._reason = ""
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment(os.environ) | dict(more),
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit status; None while it is running."""
        return self._process.returncode

    def hand_over(self, ticket: Ticket) -> None:
        """Give the process its job."""
        self._write(ticket.to_line())

    def order(self, order: Order) -> None:
        """Pass an order on, once; except for `stop_here`, the grace period starts."""
        if order == self._ordered or self._kill_at is not None:
            return
        self._ordered = order
        self._write(f"{order}\n")
        if order == "preempt":
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        if order != "stop_here":
            self.kill_after(self._grace_s)

    def kill_after(self, grace_s: float) -> None:
        """Kill the process and its group after the grace period, if it is still running."""
        deadline = time.monotonic() + grace_s
        self._kill_at = deadline if self._kill_at is None else min(self._kill_at, deadline)

    def give_up(self, reason: str) -> None:
        """End the process, after the grace period by force, for a reason its end does not tell.

        A launcher that is asked first ends processes that it has just started, too.
        """
        if not self._reason:
            self._reason = reason
            with suppress(ProcessLookupError):
                self._process.terminate()
            self.kill_after(self._grace_s)

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s`; return whether the process and its group have ended."""
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._was_killed = True
            self._kill_group()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._kill_group()  # its own child processes must not outlive it
        with suppress(BrokenPipeError):
            self._stdin.close()
        return True

    def describe_end(self) -> str:
        """Describe how the process ended."""
        code = self._process.returncode
        if self._reason:
            return self._reason
        if self._was_killed:
            return f"the job's process did not end within {self._grace_s:g} s and was killed"
        if code >= 0:
            return f"the job's process exited with status {code} without reporting a result"
        name = signal.Signals(-code).name
        return f"the job's process was killed by {name}"

    @property
    def _stdin(self) -> IO[bytes]:
        if self._process.stdin is None:
            raise RuntimeError("the process was started without a pipe")
        return self._process.stdin

    def _write(self, line: str) -> None:
        with suppress(BrokenPipeError):  # it has ended already; `wait` reports that
            self._stdin.write(line.encode())
            self._stdin.flush()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

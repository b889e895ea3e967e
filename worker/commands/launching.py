"""Several processes for one command, which starts itself again under torchrun.

Each process reads the same files and computes a share of each batch; only the first writes files
and prints. It leaves its exit status in a file, because torchrun reports any status but 0 as a
crash.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import typer

from app.errors import Invalid
from worker.launcher import USES_CPU, environment, together
from worker.rlhf.core.parallel import Team, is_launched

STATUS_FILE: Final = "ATTUNE_STATUS_FILE"
FAILED: Final = 1


def start(count: int, device: str) -> None:
    """Run this command in `count` processes, wait, and exit with the first one's status.

    Raises:
        Invalid: the number is out of range.
    """
    if not 1 <= count <= 64:
        raise Invalid(f"--processes must be 1 to 64, not {count}")
    command = together((sys.executable, "-m", "app.cli.main", *sys.argv[1:]), count)
    with tempfile.TemporaryDirectory() as folder:
        status = Path(folder) / "status"
        extra = {STATUS_FILE: str(status), USES_CPU: str(device == "cpu").lower()}
        # A command runs for whoever gave it, so its processes have the settings of judges and
        # sampling servers too; the processes of jobs have not.
        process = subprocess.Popen(command, env=environment(os.environ) | os.environ | extra)
        _wait(process)
        recorded = status.read_text(encoding="utf-8").strip() if status.exists() else ""
        raise typer.Exit(int(recorded) if recorded else FAILED)


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for the launcher, forwarding SIGTERM so that it does not outlive this process."""
    before = signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number))
    try:
        while True:
            try:
                process.wait()
                return
            except KeyboardInterrupt:  # the launcher received it too, and stops the processes
                continue
    finally:
        signal.signal(signal.SIGTERM, before)


def joined() -> Team | None:
    """Join the processes of this command; None if it was not started as one of several."""
    return Team.launched(cpu=os.environ.get(USES_CPU) == "true") if is_launched() else None


def leave_status(status: int) -> int:
    """Record the first process's exit status for `start`; return the status to exit with."""
    path = os.environ.get(STATUS_FILE)
    if path is None or not is_launched():
        return status
    if os.environ.get("RANK") == "0":
        Path(path).write_text(f"{status}\n", encoding="utf-8")
    return 0

"""`attune up` as a process: what it starts ends with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.processes import LANES

pytestmark = pytest.mark.slow


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the product on a free port and wait until it says where it is."""
    environment = {**os.environ, "ATTUNE_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "app.cli.main", "up", "--port", "0"]
    log = tmp_path / "up.log"
    with (
        log.open("w") as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=out, text=True) as process,
    ):
        while "Attune is running at" not in log.read_text():
            assert process.poll() is None, log.read_text()
        yield process
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_workers_end_with_the_server(up: subprocess.Popen[str], number: signal.Signals) -> None:
    workers = [pid for pid, parent in processes_with_parents() if parent == up.pid]
    assert len(workers) == len(LANES)
    up.send_signal(number)
    up.wait(60)
    deadline = time.monotonic() + (60 if number == signal.SIGKILL else 0)
    while (alive := _alive(workers)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert not alive


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid, _ in processes_with_parents() if pid in pids]


def processes_with_parents() -> list[tuple[int, int]]:
    """Return the number of every process with its parent's."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True)
    pairs = (line.split() for line in listed.stdout.decode().splitlines())
    return [(int(pid), int(parent)) for pid, parent in pairs]

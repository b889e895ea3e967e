import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.db import Database
from tests.faults.workers import supervisor
from worker import main, pulse


def _aged(path: Path, age_s: float) -> None:
    moment = time.time() - age_s
    os.utime(path, (moment, moment))


def test_a_worker_beats_while_it_sweeps(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = str(tmp_path)
    assert pulse.main([work]) == 1
    assert f"no worker of {socket.gethostname()} is at work" in capsys.readouterr().err
    found = supervisor(database, tmp_path)
    sweeper = main.sweeping(found)
    sweeper.sweep()
    assert pulse.main([work]) == 0
    path = tmp_path / "pulse" / found.name
    _aged(path, pulse.STALE_S + 10)
    assert pulse.main([work]) == 1
    sweeper.sweep()
    assert pulse.main([work]) == 0
    with sweeper:  # a worker that shuts down in order leaves nothing
        pass
    assert not path.exists()


def test_workers_of_other_machines_say_nothing_of_this_one(tmp_path: Path) -> None:
    pulse.beat(tmp_path, "elsewhere-1")
    pulse.beat(tmp_path, f"{socket.gethostname()}-2-1")
    assert pulse.main([str(tmp_path)]) == 1
    pulse.end(tmp_path, f"{socket.gethostname()}-2-1")
    _aged(tmp_path / "pulse" / "elsewhere-1", 2 * 86_400)
    pulse.beat(tmp_path, "here-1")
    assert [path.name for path in (tmp_path / "pulse").iterdir()] == ["here-1"]


def test_it_is_asked_without_the_product(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "worker.pulse", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert not [line for line in done.stderr.splitlines() if line.endswith((" app", " pydantic"))]

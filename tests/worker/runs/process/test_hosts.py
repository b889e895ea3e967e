"""Jobs of two hosts, each a launcher of its own on this machine: a worker, and an assistant."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from app.db import Database
from app.domain.plan import Parallel
from app.domain.states import JobState
from app.models import Job
from tests.worker.runs import small
from tests.worker.runs.process.test_distributed import (
    FP32,
    PATIENCE_S,
    claimed_reward,
    ranks,
    reward_files,
    up_to_reward,
)
from tests.worker.runs.test_kill import QUICK
from worker.assistant import Assistant
from worker.launcher import HostGroup
from worker.supervisor import Supervisor
from worker.ticket import Places

pytestmark = pytest.mark.slow


@contextmanager
def assisted(database: Database, folder: Path) -> Iterator[Supervisor]:
    """Give a worker on the first host while the second one assists."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        group = HostGroup(2, f"127.0.0.1:{free.getsockname()[1]}")
    places = Places(str(folder / "artifacts"), folder / "work", "cpu", group=group)
    assistant = Assistant(group, 1, folder / "work", "cpu")
    thread = threading.Thread(target=assistant.run)
    thread.start()
    try:
        yield Supervisor(database, places, timing=QUICK, name="several")
    finally:
        assistant.stop()
        thread.join()


def state_of(database: Database) -> tuple[JobState, str]:
    with database.reader() as session:
        job = session.scalars(select(Job).where(Job.kind == "reward")).one()
        return job.state, job.error


@pytest.mark.parametrize("parallel", list(Parallel))
def test_two_hosts_train_what_one_trains(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel: Parallel
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    up_to_reward(database, tmp_path, parallel=parallel)
    twin = small.copied(database, tmp_path, tmp_path / "twin")
    with assisted(database, tmp_path) as first:
        first.run(claimed_reward(database))
    small.run_jobs(twin, tmp_path / "twin", lambda claimed: claimed.kind != "reward")
    assert state_of(database) == (JobState.SUCCEEDED, "")
    (one,), (two,) = reward_files(database, tmp_path), reward_files(twin, tmp_path / "twin")
    twin.dispose()
    assert one.keys() == two.keys()
    for name, weight in one.items():
        torch.testing.assert_close(weight, two[name], rtol=FP32, atol=FP32)


def test_a_job_continues_once_a_lost_host_is_back(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    up_to_reward(database, tmp_path)
    with assisted(database, tmp_path) as first:
        killer = threading.Thread(target=_lose_the_second_host, args=(tmp_path,))
        killer.start()
        first.run(claimed_reward(database))
        killer.join()
        assert state_of(database)[0] == JobState.QUEUED
        first.run(claimed_reward(database))
    assert state_of(database) == (JobState.SUCCEEDED, "")


def _lose_the_second_host(folder: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assisting = [pid for pid in ranks(folder).values() if _assists(pid)]
        if assisting:
            os.kill(assisting[0], signal.SIGKILL)
            return
        time.sleep(0.05)
    raise AssertionError("no process of the second host was there")


def _assists(pid: int) -> bool:
    try:
        return b"assist" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False

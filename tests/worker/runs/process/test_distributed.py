"""A job's training by two processes that torchrun starts under a real supervisor."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sqlalchemy import func, select

from app.db import Database
from app.domain.plan import Parallel
from app.domain.states import JobState
from app.models import Checkpoint, CheckpointKind, Job, JobAttempt, Metric
from app.services.jobs import job_leases
from app.services.rounds import rounds
from tests.worker.runs import small
from tests.worker.runs.test_kill import QUICK
from worker.launcher import HostGroup, Meeting, together
from worker.supervisor import Supervisor
from worker.ticket import Places

FP32 = 1e-4
PATIENCE_S = 120.0
ADAPTER = "adapter_model.safetensors"


def supervisor(database: Database, folder: Path, processes: int) -> Supervisor:
    places = Places(str(folder / "artifacts"), folder / "work", "cpu", processes=processes)
    return Supervisor(database, places, timing=QUICK, name="several")


def up_to_reward(
    database: Database,
    folder: Path,
    processes: int | None = None,
    parallel: Parallel = Parallel.DATA,
) -> None:
    """Run a round in this process up to its reward job, and leave that in the queue."""
    with database.transaction() as session:
        project = small.make_project(session)
        rounds.launch(session, project, small.plan(processes=processes, parallel=parallel), None)

    def is_reached(claimed: job_leases.ClaimedJob) -> bool:
        return claimed.kind == "reward"

    small.run_jobs(database, folder, is_reached)
    small.judge(database, project.id)


def claimed_reward(database: Database) -> job_leases.ClaimedJob:
    with database.transaction() as session:
        found = job_leases.claim(session, "several", ["gpu"], lease_s=600)
    assert found is not None
    assert found.kind == "reward"
    return found


def reward_files(database: Database, folder: Path) -> list[dict[str, torch.Tensor]]:
    with database.reader() as session:
        rows = session.scalars(select(Checkpoint).where(Checkpoint.kind == CheckpointKind.REWARD))
        return [load_file(folder / "artifacts" / row.uri / "reward" / ADAPTER) for row in rows]


def test_two_processes_train_what_one_trains(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    up_to_reward(database, tmp_path)
    twin = small.copied(database, tmp_path, tmp_path / "twin")
    supervisor(database, tmp_path, 2).run(claimed_reward(database))
    small.run_jobs(twin, tmp_path / "twin", lambda claimed: claimed.kind != "reward")

    with database.reader() as session:
        job = session.scalars(select(Job).where(Job.kind == "reward")).one()
        assert (job.state, job.deaths) == (JobState.SUCCEEDED, 0), job.error
        doubled = (
            select(Metric.step).where(Metric.job_id == job.id).group_by(Metric.step, Metric.name)
        )
        assert not session.execute(doubled.having(func.count() > 1)).all()
        log = session.scalars(select(JobAttempt.log).where(JobAttempt.job_id == job.id)).one()
        assert "Traceback" not in log
    (one,), (two,) = reward_files(database, tmp_path), reward_files(twin, tmp_path / "twin")
    twin.dispose()
    assert one.keys() == two.keys()
    for name, weight in one.items():
        torch.testing.assert_close(weight, two[name], rtol=FP32, atol=FP32)


def test_a_run_that_lost_a_process_is_run_again(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    up_to_reward(database, tmp_path)
    found: list[int] = []
    killer = threading.Thread(target=_kill_the_second, args=(tmp_path, found))
    killer.start()
    supervisor(database, tmp_path, 2).run(claimed_reward(database))
    killer.join()
    assert found, "there was no second process"
    with database.reader() as session:
        job = session.scalars(select(Job).where(Job.kind == "reward")).one()
    assert job.state in {JobState.QUEUED, JobState.FAILED}
    assert not reward_files(database, tmp_path)
    assert not ranks(tmp_path)


def test_only_training_is_shared_and_a_plan_may_ask_for_less(
    database: Database, tmp_path: Path
) -> None:
    four = supervisor(database, tmp_path, 4)

    def count(kind: str, **payload: int) -> int:
        return four._processes(job_leases.ClaimedJob(1, 1, kind, dict(payload), None, None))

    assert [count(kind) for kind in ("sft", "reward", "policy")] == [4, 4, 4]
    assert [count(kind) for kind in ("generate", "evaluate", "export", "import")] == [1] * 4
    assert [count("sft", processes=asked) for asked in (1, 3, 8)] == [1, 3, 4]
    four.places = replace(four.places, group=HostGroup(2, "gpu-1:29400"))
    assert [count("sft", processes=asked) for asked in (1, 8)] == [4, 4]


def test_a_plan_says_so_in_the_job(database: Database, tmp_path: Path) -> None:
    with database.transaction() as session:
        rounds.launch(session, small.make_project(session), small.plan(processes=3), None)
        job = session.scalars(select(Job)).one()
        assert job.payload == {"round_id": job.round_id, "processes": 3}


def test_the_launcher_starts_the_very_command() -> None:
    command = together(["python", "-m", "worker.runs", "3", "1"], 2)
    assert command[-5:] == ("python", "-m", "worker.runs", "3", "1")
    assert {"--nproc-per-node=2", "--standalone"} < set(command)
    group = HostGroup(3, "gpu-1:29400")
    met = (Meeting(group, "job-1-1", joins=joins) for joins in (False, True))
    first, other = (together(["python"], 2, meeting) for meeting in met)
    assert {"--nnodes=3", "--rdzv-backend=c10d", "--rdzv-endpoint=gpu-1:29400"} < set(first)
    assert [one for one in first if one not in other] == [
        "--rdzv-conf=is_host=true,join_timeout=86400"
    ]


def ranks(folder: Path) -> dict[str, int]:
    """Return the process of each rank that works below a folder, by its environment."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes()
            where = os.readlink(entry / "cwd")
        except OSError:
            continue
        ranks = [each[5:].decode() for each in environment if each.startswith(b"RANK=")]
        if ranks and b"worker.runs" in command and where and _is_ours(entry, folder):
            found[ranks[0]] = int(entry.name)
    return found


def _is_ours(entry: Path, folder: Path) -> bool:
    try:
        return any(str(folder) in os.readlink(each) for each in (entry / "fd").iterdir())
    except OSError:
        return False


def _kill_the_second(folder: Path, found: list[int]) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and not found:
        pid = ranks(folder).get("1")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            found.append(pid)
        time.sleep(0.05)

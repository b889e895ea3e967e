"""A child that is killed in the middle of its work: what it made exists once, and is the same."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.states import OVER_JOB_STATES, JobState, RoundState
from app.models import Checkpoint, CheckpointKind, Comparison, Completion, Job, JobAttempt, Metric
from app.services.jobs import job_leases
from app.services.rounds import round_progress
from tests.worker.runs import small
from worker.heart import Timing
from worker.runs.process.job_context import JobContext
from worker.supervisor import Supervisor
from worker.ticket import Places

PATIENCE_S = 240.0
QUICK = Timing(lease_s=60.0, heartbeat_s=1.0, look_s=0.2, grace_s=5.0, poll_s=0.05)


class Killed(BaseException):
    """Stands for a kill within this process: nothing that catches errors sees it."""


def test_policy_training_killed_half_way_goes_on_to_the_same_weights(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    project_id = small.up_to(database, tmp_path, "policy")
    calm = small.copied(database, tmp_path, tmp_path / "calm")
    small.run_jobs(calm, tmp_path / "calm", lambda claimed: claimed.kind != "policy")

    before: list[float] = []
    killer = threading.Thread(target=_kill_at_step, args=(database, 2, before))
    killer.start()
    _supervised(database, tmp_path)
    killer.join()
    small.run_jobs(database, tmp_path)

    with database.reader() as session:
        job = session.scalars(select(Job).where(Job.kind == "policy")).one()
        assert (job.state, job.deaths) == (JobState.SUCCEEDED, 1)
        assert [_seconds_of_first_step(session)] == before, "the first step was run again"
        policy = session.scalars(
            select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY)
        ).one()
        doubled = session.scalars(
            select(Completion.id)
            .group_by(Completion.prompt_id, Completion.source_key, Completion.sample_index)
            .having(func.count() > 1)
        ).all()
        assert not doubled
        assert round_progress.get(session, project_id, 1).state in {
            RoundState.EVALUATING,
            RoundState.DECIDING,
        }
    with calm.reader() as session:
        twin = session.scalars(
            select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY)
        ).one()
    calm.dispose()
    file = "adapter_model.safetensors"
    one = (tmp_path / "artifacts" / policy.uri / file).read_bytes()
    assert one == (tmp_path / "calm" / "artifacts" / twin.uri / file).read_bytes()


def test_sampling_killed_after_a_chunk_completes_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.up_to(database, tmp_path, "generate")
    calm = small.copied(database, tmp_path, tmp_path / "calm")
    monkeypatch.setattr("worker.runs.data.sampled_completions.CHUNK_PROMPTS", 2)
    small.run_jobs(calm, tmp_path / "calm")

    with monkeypatch.context() as patch:
        patch.setattr(JobContext, "report", _killing(after=2))
        with pytest.raises(Killed):
            small.run_jobs(database, tmp_path)
    with database.transaction() as session:
        assert session.scalar(select(func.count(Completion.id)))
        job = session.scalars(select(Job).where(Job.kind == "generate")).one()
        job_leases.died(session, job.id, job.lease_token, "killed")
    small.run_jobs(database, tmp_path)

    assert _written(database) == _written(calm)
    calm.dispose()


def _supervised(database: Database, folder: Path) -> None:
    """Run the policy's job in a process of its own, and again until it is over."""
    places = Places(str(folder / "artifacts"), folder / "work", "cpu")
    supervisor = Supervisor(database, places, timing=QUICK, name="killed now and then")
    while True:
        with database.transaction() as session:
            job = session.scalars(select(Job).where(Job.kind == "policy")).one()
            if job.state in OVER_JOB_STATES:
                return
            claimed = job_leases.claim(session, "killed now and then", ["gpu"], lease_s=600)
        assert claimed is not None
        supervisor.run(claimed)


def _seconds_of_first_step(session: Session) -> float | None:
    return session.scalar(
        select(Metric.value)
        .join(Job, Job.id == Metric.job_id)
        .where(Job.kind == "policy", Metric.name == "time/train_s", Metric.step == 1)
    )


def _kill_at_step(database: Database, step: int, seconds: list[float]) -> None:
    """Kill the process of the policy job once it has come so far; note what step 1 took."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with database.reader() as session:
            job = session.scalars(select(Job).where(Job.kind == "policy")).one()
            pid = session.scalar(
                select(JobAttempt.pid)
                .where(JobAttempt.job_id == job.id)
                .order_by(JobAttempt.lease_token.desc())
                .limit(1)
            )
        if job.progress_done >= step and pid is not None:
            os.kill(pid, signal.SIGKILL)
            with database.reader() as session:
                seconds.append(_seconds_of_first_step(session) or 0.0)
            return
        time.sleep(0.02)


def _killing(after: int) -> Callable[..., None]:
    calls = iter(range(1, 1000))

    def report(self: JobContext, done: int, total: int, note: str = "") -> None:
        del self, done, total, note
        if next(calls) >= after:
            raise Killed

    return report


def _written(database: Database) -> list[tuple[int, int, str]]:
    with database.reader() as session:
        comparisons = session.scalar(select(func.count(Comparison.id))) or 0
        rows = session.scalars(
            select(Completion).order_by(Completion.prompt_id, Completion.sample_index)
        )
        found = [(row.prompt_id, row.sample_index, row.text) for row in rows]
    return [*found, (comparisons, 0, "comparisons")]

"""A queued job says what it waits for."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from app.db import now
from app.domain.states import JobState
from app.models import Job
from app.services.jobs import job_waits, jobs, workers
from app.services.jobs.workers import Description
from worker.runs import RUNS


def enqueue(session: Session, kind: str, queue: str = "gpu", priority: int = 0) -> Job:
    assert queue in ("gpu", "cpu")
    return jobs.enqueue(session, kind=kind, queue=queue, payload={}, priority=priority)  # type: ignore[arg-type]


def test_no_worker_a_busy_one_and_the_jobs_before_are_named(session: Session) -> None:
    first, urgent = enqueue(session, "policy"), enqueue(session, "check", priority=10)
    enqueue(session, "merge", queue="cpu")
    job = enqueue(session, "score")
    enqueue(session, "export")
    workers.seen(session, Description("cpu-1", ["cpu"], "", "1"), job_id=None)
    assert "no running worker takes jobs from the GPU queue" in job_waits.why(session, job)
    workers.seen(session, Description("gpu-1", ["gpu"], "", "1"), job_id=None)
    assert job_waits.why(session, job) == "Waiting for a worker. 2 jobs ahead of this one."
    assert job_waits.why(session, urgent) == "Waiting for a worker."
    first.state, first.worker = JobState.RUNNING, "gpu-1"
    assert job_waits.why(session, job) == (
        "Waiting for a worker. Running now: training a policy. 1 job ahead of this one."
    )


def test_a_failed_attempt_says_when_the_next_one_starts(session: Session) -> None:
    job = enqueue(session, "push")
    job.error, job.not_before = "no hub answers", now(session) + timedelta(minutes=1)
    session.flush()
    assert job_waits.why(session, job).startswith("The last attempt failed: no hub answers. The")


@pytest.mark.parametrize("state", [one for one in JobState if one is not JobState.QUEUED])
def test_what_is_not_queued_does_not_wait(session: Session, state: JobState) -> None:
    job = enqueue(session, "score")
    job.state = state
    assert job_waits.why(session, job) == ""


def test_every_kind_of_job_has_words() -> None:
    assert job_waits.WORK.keys() == RUNS.keys()

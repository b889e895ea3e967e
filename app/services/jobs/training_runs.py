"""Training runs of a project: the jobs that draw curves, with the rounds that they belong to."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.models import Job, Round

KINDS = ("sft", "reward", "policy")


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A training job that has started, its round, and a name that no other of its kind has."""

    job: Job
    round: Round
    name: str


def of_kind(session: Session, project_id: int, kind: str) -> list[TrainingRun]:
    """Return the runs of a kind that have started, the newest round first."""
    query = (
        select(Job, Round)
        .join(Round, Round.id == Job.round_id)
        .where(Round.project_id == project_id, Job.kind == kind, Job.started_at.is_not(None))
        .order_by(Round.number.desc(), Job.id.desc())
    )
    rows = session.execute(query).all()
    count = Counter(round_.id for _, round_ in rows)
    return [
        TrainingRun(
            job,
            round_,
            f"Round {round_.number}" + (f", job {job.id}" if count[round_.id] > 1 else ""),
        )
        for job, round_ in rows
    ]


def find(session: Session, project_id: int, job_id: int) -> tuple[TrainingRun, list[TrainingRun]]:
    """Return a run of the project, and the others of its kind.

    Raises:
        NotFound: the project has no such run, or it has not started.
    """
    job = session.get(Job, job_id)
    if job is not None and job.project_id == project_id and job.kind in KINDS:
        runs = of_kind(session, project_id, job.kind)
        for run in runs:
            if run.job.id == job_id:
                return run, [other for other in runs if other.job.id != job_id]
    raise NotFound(f"job {job_id} is not a training run of this project that has started")

"""Jobs (the row is the job) with their attempts, shards, metrics and kept samples."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key
from app.domain.states import JobState


class Job(Identified, Base):
    """A piece of work for a worker. `lease_token` is a fencing token: each claim increments it."""

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_runnable", "queue", "state", "priority", "id"),
        UniqueConstraint("natural_key"),
    )

    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id"), index=True)
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"), index=True)
    # The job that this one takes shards of. SQLite cannot add a foreign key to a table.
    helps_id: Mapped[int | None] = mapped_column(Key, index=True)
    kind: Mapped[str] = mapped_column(String(40))
    queue: Mapped[str] = mapped_column(String(20))  # gpu, cpu
    priority: Mapped[int] = mapped_column(default=0)
    state: Mapped[JobState] = mapped_column(String(20), default=JobState.QUEUED)
    natural_key: Mapped[str | None] = mapped_column(String(160))  # prevents enqueuing it twice
    payload: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str] = mapped_column(default="")
    lease_token: Mapped[int] = mapped_column(default=0)
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str] = mapped_column(String(120), default="")
    attempts: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)  # how often its process was killed
    max_attempts: Mapped[int] = mapped_column(default=5)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    stop_requested: Mapped[bool] = mapped_column(default=False)  # "stop here and keep the best"
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    progress_note: Mapped[str] = mapped_column(String(200), default="")
    fenced_writes: Mapped[int] = mapped_column(default=0)
    created_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    created_at: Mapped[datetime]
    not_before: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class JobAttempt(Identified, Base):
    """One claim of a job by a worker, with the tail of its log."""

    __tablename__ = "job_attempt"
    __table_args__ = (UniqueConstraint("job_id", "lease_token"),)

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    lease_token: Mapped[int]
    worker: Mapped[str] = mapped_column(String(120))
    pid: Mapped[int | None]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(String(20), default="")
    error: Mapped[str] = mapped_column(default="")
    log: Mapped[str] = mapped_column(default="")


class Shard(Identified, Base):
    """A part of a job's work, done by the job itself or by one that helps it.

    It is held by a job under that job's lease, and free again when the lease ends: there is no
    lease of its own. `work` names what it is a part of, so that a job that resumes finds it.
    """

    __tablename__ = "shard"
    __table_args__ = (UniqueConstraint("job_id", "work", "n"),)

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    work: Mapped[str] = mapped_column(String(64))
    n: Mapped[int]
    rows: Mapped[int]
    payload: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    holder_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    holder_token: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str] = mapped_column(String(120), default="")
    claims: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Metric(Base):
    """A scalar logged by a running job and plotted on its page."""

    __tablename__ = "metric"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]


class TrainingSample(Base):
    """A completion kept during training for people to read."""

    __tablename__ = "training_sample"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    prompt: Mapped[str]
    completion: Mapped[str]
    score: Mapped[float | None]
    parts: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")


class WorkerHeartbeat(Identified, Base):
    """A worker and when it was last seen, for the health page."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(String(120), unique=True)
    queues: Mapped[list[str]]
    device: Mapped[str] = mapped_column(String(120), default="")
    version: Mapped[str] = mapped_column(String(40), default="")
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    job_id: Mapped[int | None] = mapped_column(Key, ForeignKey("job.id"))

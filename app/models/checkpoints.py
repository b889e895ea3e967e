"""Checkpoints (models on disk) and the data that they were trained on."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key


class CheckpointKind(StrEnum):
    """The role of a model on disk."""

    BASE = "base"
    SFT = "sft"
    REWARD = "reward"
    POLICY = "policy"


class Checkpoint(Identified, Base):
    """A model on disk with its parent, its job and the hash of its files."""

    __tablename__ = "checkpoint"
    __table_args__ = (UniqueConstraint("project_id", "name"), UniqueConstraint("job_id", "kind"))

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    kind: Mapped[CheckpointKind] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(60))  # "SFT 1", "Reward 2", "Policy 2"
    parent_id: Mapped[int | None] = mapped_column(Key, ForeignKey("checkpoint.id"))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    uri: Mapped[str]  # relative to the artifact root, or a base model's path or hub name
    sha256: Mapped[str] = mapped_column(String(64), default="")  # of the manifest
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    state: Mapped[str] = mapped_column(String(20), default="ready")  # ready, retired
    created_at: Mapped[datetime]


class CheckpointInput(Base):
    """A frozen export that a checkpoint was trained on."""

    __tablename__ = "checkpoint_input"

    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoint.id"), primary_key=True)
    export_id: Mapped[int] = mapped_column(ForeignKey("export.id"), primary_key=True, index=True)

"""Rounds of the loop, and the evaluations on which their decisions are based."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key
from app.domain.states import RoundState


class Round(Identified, Base):
    """One pass through the loop, from candidates to a decision."""

    __tablename__ = "round"
    __table_args__ = (UniqueConstraint("project_id", "number"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    number: Mapped[int]
    state: Mapped[RoundState] = mapped_column(String(20), default=RoundState.PLANNED)
    plan: Mapped[dict[str, Any]]
    reason: Mapped[str] = mapped_column(default="")  # of the decision, or of the failure
    policy_before_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("checkpoint.id", use_alter=True)
    )
    reward_checkpoint_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("checkpoint.id", use_alter=True)
    )
    policy_checkpoint_id: Mapped[int | None] = mapped_column(
        Key, ForeignKey("checkpoint.id", use_alter=True)
    )
    created_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Evaluation(Identified, Base):
    """A blind comparison of a new checkpoint with an old one."""

    __tablename__ = "evaluation"
    __table_args__ = (UniqueConstraint("round_id", "new_checkpoint_id", "old_checkpoint_id"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    new_checkpoint_id: Mapped[int] = mapped_column(Key, ForeignKey("checkpoint.id"))
    old_checkpoint_id: Mapped[int] = mapped_column(Key, ForeignKey("checkpoint.id"))
    state: Mapped[str] = mapped_column(String(20), default="running")  # running, complete
    results: Mapped[dict[str, Any]] = mapped_column(default=dict)  # arbiter, lengths
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]

"""Rounds of the loop, verdicts of their gates, and the evaluations that decide them."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key
from app.domain.gate_policies import Gate, GateOutcome
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
    # Started without a person; `created_by_id` is then whoever turned that on.
    is_automatic: Mapped[bool] = mapped_column(default=False, server_default=false())
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


class GateVerdict(Identified, Base):
    """What a gate said after a stage of a round, and what a person decided.

    A remedy changes settings of the plan (`changes`, by path); `redo` is the stage that is run
    again, for a remedy or to carry on with data that an override accepts.
    """

    __tablename__ = "gate_verdict"

    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))  # that measured it
    stage: Mapped[RoundState] = mapped_column(String(20))
    gate: Mapped[Gate] = mapped_column(String(20))
    outcome: Mapped[GateOutcome] = mapped_column(String(20))
    figures: Mapped[dict[str, Any]]
    remedy: Mapped[str] = mapped_column(String(40), default="")  # its key
    remedy_label: Mapped[str] = mapped_column(String(200), default="")  # as it was chosen
    changes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    redo: Mapped[str] = mapped_column(String(20), default="")
    note: Mapped[str] = mapped_column(default="")
    decided_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    created_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]

"""Comparisons and their slots."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base, Identified, Key, SomeJson
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import SlotState
from app.models.prompts import Completion, Prompt

_UNFINISHED = text("done_slots < overlap AND NOT is_withdrawn")
_JUDGED = text("done_slots >= overlap AND NOT is_withdrawn")
_WITHDRAWN = text("is_withdrawn")
_IN_ROUND = text("round_id IS NOT NULL")
_IN_EVALUATION = text("evaluation_id IS NOT NULL")


class Purpose(StrEnum):
    """Why a comparison is judged; only `train` is ever used to train a reward model."""

    TRAIN = "train"
    EVALUATION = "evaluation"
    GOLD = "gold"
    PRACTICE = "practice"
    REPEAT = "repeat"
    FRESH = "fresh"  # a policy in training against its reference; see `FreshComparison`


class Comparison(Identified, Base):
    """One prompt with k completions, to be judged by labelers.

    `open_slots` and `done_slots` count this row's slots. The queue orders by them, and the services
    update them in the transaction of each transition.
    """

    __tablename__ = "comparison"
    __table_args__ = (
        CheckConstraint("open_slots >= 0", name="open_slots"),
        CheckConstraint("done_slots >= 0", name="done_slots"),
        UniqueConstraint("project_id", "natural_key"),
        Index(
            "ix_comparison_queue",
            "project_id",
            "purpose",
            "is_open",
            "priority",
            "done_slots",
            "id",
        ),
        Index(
            "ix_comparison_unfinished",
            "round_id",
            "purpose",
            sqlite_where=_UNFINISHED,
            postgresql_where=_UNFINISHED,
        ),
        Index("ix_comparison_project_id", "project_id", "id"),
        Index("ix_comparison_project_id_kind", "project_id", "kind", "id"),
        Index("ix_comparison_project_id_created_at", "project_id", "created_at"),
        Index("ix_comparison_purpose", "project_id", "purpose", "id"),
        Index(
            "ix_comparison_round_id",
            "round_id",
            "id",
            sqlite_where=_IN_ROUND,
            postgresql_where=_IN_ROUND,
        ),
        Index(
            "ix_comparison_evaluation_id",
            "evaluation_id",
            sqlite_where=_IN_EVALUATION,
            postgresql_where=_IN_EVALUATION,
        ),
        Index(
            "ix_comparison_open",
            "project_id",
            "id",
            sqlite_where=_UNFINISHED,
            postgresql_where=_UNFINISHED,
        ),
        Index(
            "ix_comparison_judged",
            "project_id",
            "id",
            sqlite_where=_JUDGED,
            postgresql_where=_JUDGED,
        ),
        Index(
            "ix_comparison_withdrawn",
            "project_id",
            "id",
            sqlite_where=_WITHDRAWN,
            postgresql_where=_WITHDRAWN,
        ),
    )

    project_id: Mapped[int] = mapped_column(Key)  # a copy of the prompt's
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), index=True)
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    evaluation_id: Mapped[int | None] = mapped_column(ForeignKey("evaluation.id"))
    kind: Mapped[JudgmentKind] = mapped_column(String(20))
    purpose: Mapped[Purpose] = mapped_column(String(20))
    overlap: Mapped[int]
    priority: Mapped[int] = mapped_column(default=0)
    open_slots: Mapped[int]
    done_slots: Mapped[int] = mapped_column(default=0)
    is_open: Mapped[bool] = mapped_column(default=True)  # open_slots > 0 and not withdrawn
    is_withdrawn: Mapped[bool] = mapped_column(default=False)
    origin_id: Mapped[int | None] = mapped_column(Key, ForeignKey("comparison.id"))  # of a repeat
    only_labeler_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    gold_answer: Mapped[dict[str, Any] | None]
    gold_reason: Mapped[str] = mapped_column(default="")
    chosen: Mapped[dict[str, Any] | None] = mapped_column(SomeJson)  # why; null: drawn at random
    natural_key: Mapped[str] = mapped_column(String(160))  # a rerun cannot duplicate a comparison
    created_at: Mapped[datetime]

    prompt: Mapped[Prompt] = relationship(lazy="raise")
    members: Mapped[list["ComparisonCompletion"]] = relationship(
        lazy="raise", order_by="ComparisonCompletion.position"
    )


class ComparisonCompletion(Base):
    """A completion's position in a comparison: canonical, random, fixed at creation."""

    __tablename__ = "comparison_completion"
    __table_args__ = (UniqueConstraint("comparison_id", "completion_id"),)

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)  # 0-based; "a" is 0, "b" is 1
    completion_id: Mapped[int] = mapped_column(ForeignKey("completion.id"), index=True)

    completion: Mapped[Completion] = relationship(lazy="raise")


class FreshComparison(Base):
    """Which response of a fresh comparison is the policy's, and at which step of which job."""

    __tablename__ = "fresh_comparison"

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    step: Mapped[int]
    policy_completion_id: Mapped[int] = mapped_column(ForeignKey("completion.id"))


class Slot(Identified, Base):
    """One of the K judgments that a comparison needs."""

    __tablename__ = "slot"
    __table_args__ = (UniqueConstraint("comparison_id", "n"),)

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"))
    n: Mapped[int]
    state: Mapped[SlotState] = mapped_column(String(20), default=SlotState.OPEN)

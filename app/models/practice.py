"""Practice: labelers' answers and whether they were correct; they never count as judgments."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified


class PracticeAnswer(Identified, Base):
    """One answer in one run through the practice set; append-only."""

    __tablename__ = "practice_answer"
    __table_args__ = (
        UniqueConstraint("labeler_id", "submission_key"),
        UniqueConstraint("labeler_id", "comparison_id", "run"),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), index=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    run: Mapped[int]
    answer: Mapped[dict[str, Any]]  # the same fields as in the comparison's gold answer
    is_right: Mapped[bool]
    shown_order: Mapped[list[int]]
    guidelines_version: Mapped[int]
    submission_key: Mapped[str] = mapped_column(String(64))
    submitted_at: Mapped[datetime]
    active_ms: Mapped[int]

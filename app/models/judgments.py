"""Assignments, judgments and adjudications."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

from app.db.base import Base, Identified, Key
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import AssignmentState
from app.models.comparisons import Comparison

_LIVE = text("state IN ('leased', 'submitted')")
_SKIPPED = text("state = 'skipped'")
_COUNTED = text("state NOT IN ('released', 'expired')")
_WORDED = text("comment <> '' OR text IS NOT NULL")
_UNCOUNTED = text("NOT is_current OR is_retraction OR is_surplus")


class Assignment(Identified, Base):
    """A slot leased to a labeler. The two partial indexes guarantee the queue's invariants."""

    __tablename__ = "assignment"
    __table_args__ = (
        Index(
            "uq_assignment_live_slot",
            "slot_id",
            unique=True,
            sqlite_where=_LIVE,
            postgresql_where=_LIVE,
        ),
        Index(
            "uq_assignment_labeler_comparison",
            "labeler_id",
            "comparison_id",
            unique=True,
            sqlite_where=_COUNTED,
            postgresql_where=_COUNTED,
        ),
        Index("ix_assignment_expiry", "project_id", "state", "expires_at"),
        Index("ix_assignment_labeler", "labeler_id", "project_id", "state"),
        Index("ix_assignment_comparison", "comparison_id"),
        Index(
            "ix_assignment_skipped",
            "project_id",
            sqlite_where=_SKIPPED,
            postgresql_where=_SKIPPED,
        ),
    )

    project_id: Mapped[int] = mapped_column(Key)  # a copy of the comparison's
    comparison_id: Mapped[int] = mapped_column(Key)  # a copy of the slot's
    slot_id: Mapped[int] = mapped_column(ForeignKey("slot.id"))
    labeler_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    lease_token: Mapped[str] = mapped_column(String(40))
    state: Mapped[AssignmentState] = mapped_column(String(20), default=AssignmentState.LEASED)
    shown_order: Mapped[list[int]]  # canonical positions in the order on screen
    leased_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    skip_reason: Mapped[str] = mapped_column(String(60), default="")
    skip_comment: Mapped[str] = mapped_column(default="")
    submission_key: Mapped[str | None] = mapped_column(String(64))  # of a skip; makes replays safe

    comparison: Mapped[Comparison] = relationship(
        lazy="raise", primaryjoin=lambda: foreign(Assignment.comparison_id) == Comparison.id
    )


class Judgment(Identified, Base):
    """A labeler's judgment: append-only revisions, of which one per assignment is current.

    `preferred` and `ranking` refer to canonical positions, never to positions on screen.
    """

    __tablename__ = "judgment"
    __table_args__ = (
        UniqueConstraint("labeler_id", "submission_key"),
        UniqueConstraint("assignment_id", "revision"),
        Index(
            "uq_judgment_current",
            "assignment_id",
            unique=True,
            sqlite_where=text("is_current"),
            postgresql_where=text("is_current"),
        ),
        Index("ix_judgment_project_current", "project_id", "is_current", "comparison_id"),
        Index("ix_judgment_labeler", "labeler_id", "project_id", "submitted_at"),
        Index("ix_judgment_comparison", "comparison_id"),
        Index("ix_judgment_project_id", "project_id", "id"),
        Index(
            "ix_judgment_instruction",
            "project_id",
            "instruction_version",
            "is_current",
            "is_retraction",
        ),
        Index("ix_judgment_project_id_submitted_at", "project_id", "submitted_at"),
        Index(
            "ix_judgment_text",
            "project_id",
            "comparison_id",
            sqlite_where=text("text IS NOT NULL"),
            postgresql_where=text("text IS NOT NULL"),
        ),
        Index(
            "ix_judgment_worded",
            "labeler_id",
            "assignment_id",
            sqlite_where=_WORDED,
            postgresql_where=_WORDED,
        ),
        Index(
            "ix_judgment_flagged",
            "project_id",
            "comparison_id",
            sqlite_where=text("flags <> '[]'"),
            postgresql_where=text("flags <> '[]'::jsonb"),
        ),
        Index("ix_judgment_project_id_version", "project_id", "guidelines_version", "id"),
        Index(
            "ix_judgment_uncounted",
            "project_id",
            "id",
            sqlite_where=_UNCOUNTED,
            postgresql_where=_UNCOUNTED,
        ),
    )

    project_id: Mapped[int] = mapped_column(Key)  # these three are copies of the assignment's
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignment.id"))
    comparison_id: Mapped[int] = mapped_column(Key)
    labeler_id: Mapped[int] = mapped_column(Key)
    revision: Mapped[int]
    supersedes_id: Mapped[int | None] = mapped_column(Key, ForeignKey("judgment.id"))
    is_current: Mapped[bool]  # derived: nothing supersedes it
    is_retraction: Mapped[bool] = mapped_column(default=False)
    is_surplus: Mapped[bool] = mapped_column(default=False)  # kept, not counted toward the overlap
    kind: Mapped[JudgmentKind] = mapped_column(String(20))
    preferred: Mapped[str | None] = mapped_column(String(3))  # a, b or tie
    strength: Mapped[int | None]  # 1 to 4
    margin: Mapped[float | None]  # lead of the chosen completion, in the unit of the imported file
    ranking: Mapped[list[int] | None]  # competition rank of each canonical position
    ratings: Mapped[dict[str, Any] | None]  # criterion -> rating of each canonical position
    both_bad: Mapped[bool] = mapped_column(default=False)
    thumb: Mapped[str | None] = mapped_column(String(4))  # up or down
    reasons: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    text: Mapped[str | None]  # of write and edit
    flags: Mapped[list[str]] = mapped_column(default=list)
    comment: Mapped[str] = mapped_column(default="")
    shown_order: Mapped[list[int]]
    guidelines_version: Mapped[int]
    instruction_version: Mapped[int] = mapped_column(default=0, server_default="0")  # 0: unknown
    submission_key: Mapped[str] = mapped_column(String(64))
    body_hash: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime]
    submitted_at: Mapped[datetime]
    active_ms: Mapped[int]

    comparison: Mapped[Comparison] = relationship(
        lazy="raise", primaryjoin=lambda: foreign(Judgment.comparison_id) == Comparison.id
    )
    assignment: Mapped[Assignment] = relationship(lazy="raise")


class Adjudication(Identified, Base):
    """A lead's decision on a disputed comparison; it never counts as a vote."""

    __tablename__ = "adjudication"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), index=True)
    adjudicator_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    is_current: Mapped[bool] = mapped_column(default=True)
    preferred: Mapped[str | None] = mapped_column(String(3))
    ranking: Mapped[list[int] | None]
    both_bad: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str] = mapped_column(String(40))
    comment: Mapped[str] = mapped_column(default="")
    guidelines_version: Mapped[int]
    created_at: Mapped[datetime]

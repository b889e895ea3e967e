"""Scorings: responses of models or of a file, scored by a classifier, reward model or rule."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key


class Scoring(Identified, Base):
    """A set of responses to score, and by what.

    `scorer` is a `RewardPart`. A side is a model, with its checkpoint's id, or a column of the
    file. In judged pairs the sides are chosen and rejected.
    """

    __tablename__ = "scoring"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    title: Mapped[str] = mapped_column(String(200))  # of the scorer
    source: Mapped[str] = mapped_column(String(200))  # which prompts, or the name of the file
    scorer: Mapped[dict[str, Any]]
    sides: Mapped[list[dict[str, Any]]]  # [{"name": …, "checkpoint_id": … or null}]
    rows: Mapped[int]
    is_judged: Mapped[bool] = mapped_column(default=False)
    threshold: Mapped[float | None]
    is_high_bad: Mapped[bool] = mapped_column(default=True)
    remarks: Mapped[list[str]] = mapped_column(default=list)  # what was left out
    job_id: Mapped[int | None] = mapped_column(Key, ForeignKey("job.id"))
    created_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ScoredRow(Identified, Base):
    """A prompt with a response and a score per side; null where a side has no response.

    `earlier` has per side the turns between the prompt and a response to a follow-up; it is empty
    if the prompt has no follow-ups.
    """

    __tablename__ = "scored_row"
    __table_args__ = (UniqueConstraint("scoring_id", "place"),)

    scoring_id: Mapped[int] = mapped_column(ForeignKey("scoring.id"))
    place: Mapped[int]
    prompt_id: Mapped[int | None] = mapped_column(Key, ForeignKey("prompt.id"))
    subset: Mapped[str] = mapped_column(String(120), default="")
    messages: Mapped[list[dict[str, Any]]]
    earlier: Mapped[list[Any]] = mapped_column(default=list, server_default=text("'[]'"))
    texts: Mapped[list[Any]]
    scores: Mapped[list[Any]]

"""Settings of the rounds that start without a person, and how many have."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key


class AutomaticRounds(Identified, Base):
    """When a project's next round starts automatically; a project has at most one row.

    `launched_in_row` counts the rounds since a person last launched or decided one, or resumed.
    A pause without `paused_by_id` is the product's own, for `pause_reason`.
    """

    __tablename__ = "automatic_rounds"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), unique=True)
    is_on: Mapped[bool]
    judgments: Mapped[int]
    most_in_row: Mapped[int]
    hours_between: Mapped[float]
    promotes: Mapped[bool]
    plan: Mapped[dict[str, Any] | None]  # None: that of the last round
    set_by_id: Mapped[int] = mapped_column(Key, ForeignKey("user.id"))
    set_at: Mapped[datetime]
    launched_in_row: Mapped[int] = mapped_column(default=0)
    launched_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    paused_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    pause_reason: Mapped[str] = mapped_column(default="")

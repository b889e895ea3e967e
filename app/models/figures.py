"""Figures of large projects, kept by a process of their own for the pages that show them."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified


class KeptFigure(Identified, Base):
    """The latest result of a function of a project's judgments; no value until it is computed."""

    __tablename__ = "kept_figure"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(300))  # of the function, with its arguments as JSON
    stamp: Mapped[str] = mapped_column(String(200), default="")  # of the judgments it was made of
    value: Mapped[str | None]  # JSON
    as_of: Mapped[datetime | None]  # when the judgments were read
    wanted_at: Mapped[datetime]  # when a page last asked for it


class FigureRefresher(Identified, Base):
    """The process that keeps the figures; of several, one holds the lease and works."""

    __tablename__ = "figure_refresher"

    holder: Mapped[str] = mapped_column(String(80))
    seen_at: Mapped[datetime]

"""Exports (frozen, hashed data sets), the judgments they contain, and imports."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified, Key


class Export(Identified, Base):
    """A frozen data set: bytes that never change, with a manifest."""

    __tablename__ = "export"
    __table_args__ = (UniqueConstraint("project_id", "number"), UniqueConstraint("job_id"))

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    number: Mapped[int]
    format: Mapped[str] = mapped_column(String(40))
    options: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(20), default="queued")  # queued, ready, failed
    job_id: Mapped[int | None] = mapped_column(Key, ForeignKey("job.id", use_alter=True))
    uri: Mapped[str] = mapped_column(default="")
    sha256: Mapped[str] = mapped_column(String(64), default="")
    bytes: Mapped[int] = mapped_column(Key, default=0)
    rows: Mapped[int] = mapped_column(default=0)
    manifest: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    created_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]


class ExportJudgment(Base):
    """A judgment in an export: the link from a vote to the models trained on it."""

    __tablename__ = "export_judgment"

    export_id: Mapped[int] = mapped_column(ForeignKey("export.id"), primary_key=True)
    judgment_id: Mapped[int] = mapped_column(
        ForeignKey("judgment.id"), primary_key=True, index=True
    )


class ImportRun(Identified, Base):
    """An imported file: the counts of its records, and its rejected lines with their reasons."""

    __tablename__ = "import_run"

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    filename: Mapped[str] = mapped_column(String(200))
    format: Mapped[str] = mapped_column(String(40))
    sha256: Mapped[str] = mapped_column(String(64))
    is_evaluation: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    counts: Mapped[dict[str, Any]]
    rejects: Mapped[list[dict[str, Any]]]  # the first thousand: [{"line": …, "reason": …}]
    # What was there already: [{"kind": …, "where": "project" or "file", "count": …, "lines": […]}]
    duplicates: Mapped[list[dict[str, Any]]] = mapped_column(
        default=list, server_default=text("'[]'")
    )
    remarks: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'"))
    created_by_id: Mapped[int | None] = mapped_column(Key, ForeignKey("user.id"))
    created_at: Mapped[datetime]

"""Results files: completions of another system, kept for viewing side by side with others."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified


class ResultsFile(Identified, Base):
    """A file of prompts with one completion each; the same bytes are stored once."""

    __tablename__ = "results_file"
    __table_args__ = (UniqueConstraint("project_id", "sha256"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int]
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]


class ResultsRow(Identified, Base):
    """A prompt of a results file with its first completion."""

    __tablename__ = "results_row"
    __table_args__ = (UniqueConstraint("file_id", "content_hash"),)

    file_id: Mapped[int] = mapped_column(ForeignKey("results_file.id"))
    content_hash: Mapped[str] = mapped_column(String(64))  # as in `prompt`
    messages: Mapped[list[dict[str, Any]]]
    # Turns between the prompt and a response to a follow-up.
    earlier: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default=text("'[]'"))
    text: Mapped[str]

"""Exports (frozen, hashed data sets), the judgments they contain, and imports."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    and_,
    cast,
    func,
    literal,
    text,
)
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from app.db.base import Base, Identified, Key
from app.domain.id_set import BLOCK, IN

Condition = ColumnElement[bool]


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


class ExportedJudgments(Base):
    """Judgments in an export: the link from votes to the models trained on them.

    A row stands for a block of ids (see `domain/id_set`): links of their own would take most of the
    time of a large export. Nothing deletes judgments, so no foreign key is lost with them.
    """

    __tablename__ = "exported_judgments"

    export_id: Mapped[int] = mapped_column(ForeignKey("export.id"), primary_key=True)
    block: Mapped[int] = mapped_column(Key, primary_key=True, index=True)
    members: Mapped[bytes]

    @classmethod
    def include(cls, judgment_id: ColumnElement[int] | InstrumentedAttribute[int]) -> Condition:
        """Return the condition that a row includes a judgment.

        It says the same twice: by block, to find the rows of a judgment by their index, and as a
        range of ids, to find the judgments of a row by theirs.
        """
        first = cls.block * BLOCK
        place = cast(judgment_id - first, Integer) + 1  # PostgreSQL's function takes no bigint
        return and_(
            cls.block == judgment_id // BLOCK,
            judgment_id.between(first, first + BLOCK - 1),
            func.substr(cls.members, place, 1) == literal(IN, LargeBinary),
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

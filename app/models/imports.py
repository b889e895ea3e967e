"""Uploads that a job imports: the file in pieces until it is done, and how far it is."""

from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Key


class ImportJob(Base):
    """The job of an import that is too large to be done in the request that brought it."""

    __tablename__ = "import_job"

    import_id: Mapped[int] = mapped_column(Key, ForeignKey("import_run.id"), primary_key=True)
    job_id: Mapped[int] = mapped_column(Key, ForeignKey("job.id"), unique=True)
    bytes: Mapped[int] = mapped_column(Key)
    rows_done: Mapped[int] = mapped_column(default=0)  # where an attempt that resumes continues
    last_ids: Mapped[dict[str, Any] | None]  # by table, before the import: what is newer is its own


class ImportChunk(Base):
    """A piece of an uploaded file, kept until its import is over."""

    __tablename__ = "import_chunk"

    import_id: Mapped[int] = mapped_column(Key, ForeignKey("import_run.id"), primary_key=True)
    n: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]

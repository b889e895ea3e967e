"""Restorations: when this database was restored from a backup."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Identified


class Restoration(Identified, Base):
    """A restoration from a backup. `lease_floor` is above every job's lease token before it.

    Workers that still hold a lease of the database as it was before are fenced by it: a job's token
    is never below the newest floor.
    """

    __tablename__ = "restoration"

    sha256: Mapped[str] = mapped_column(String(64))  # of the backup's manifest
    taken_at: Mapped[datetime]
    restored_at: Mapped[datetime]
    lease_floor: Mapped[int]

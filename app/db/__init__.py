"""The database: declarative base and column types, engines, and the only commits."""

from app.db.base import Base
from app.db.engine import Database, now

__all__ = ["Base", "Database", "now"]

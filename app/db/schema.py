"""Schema migrations: upgrade, downgrade, and a check that the tables match the models."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select, text

from app.db.base import Base

WORD_INDEXES = ("prompt_words", "completion_words")
"""The tables of words; only the migrations know them, because they differ by database."""
WORD_TRIGGERS = tuple(
    f"{name}_{event}" for name in WORD_INDEXES for event in ("delete", "insert", "update")
)
_MIGRATION_LOCK = 7_204_202  # any constant that no other advisory lock uses
MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Upgrade the tables to `revision`; processes that start at once do it one after another."""
    with engine.execution_options(attune_writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str = "base") -> None:
    """Downgrade the tables to `revision`."""
    with engine.begin() as connection:
        command.downgrade(_config(connection), revision)


def revision(engine: Engine) -> str | None:
    """Return the revision of the database; None if it is empty."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str | None:
    """Return the newest revision known to the code."""
    return ScriptDirectory(str(MIGRATIONS)).get_current_head()


def behind(at: str | None, newest: str | None) -> str:
    """Say that a database is not at the newest revision; `at` is None if it has no tables."""
    return "has no tables yet" if at is None else f"is at revision {at}, not {newest}"


def is_known(revision: str) -> bool:
    """Whether the code has this revision; a newer version's database may have another."""
    known = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    return any(script.revision == revision for script in known)


def is_current(engine: Engine) -> bool:
    """Whether the database is at the newest revision."""
    return revision(engine) == head()


def drift(engine: Engine) -> list[Any]:
    """Return the differences between the tables and the models; none if they match."""
    options = {"compare_type": True, "include_name": is_compared}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        differences = list(compare_metadata(context, Base.metadata))
        return [*differences, *_missing_word_indexes(connection)]


def is_compared(name: str | None, kind: str, parents: Any) -> bool:
    """Whether a table or an index of the database is compared with the models."""
    del parents
    is_word_index = (name or "").removeprefix("ix_").startswith(WORD_INDEXES)
    return kind not in {"table", "index"} or not is_word_index


def _missing_word_indexes(connection: Connection) -> list[tuple[str, str]]:
    """Return what searches need and a migration that copies a table may have lost."""
    if connection.dialect.name == "sqlite":
        query, wanted = "SELECT name FROM sqlite_master", (*WORD_INDEXES, *WORD_TRIGGERS)
    else:
        query = (
            "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() UNION "
            "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
            "WHERE relnamespace = to_regnamespace(current_schema())"
        )
        wanted = (*(f"ix_{name}" for name in WORD_INDEXES), *WORD_TRIGGERS)
    present = set(connection.execute(text(query)).scalars())
    return [("missing_word_index", name) for name in wanted if name not in present]


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config

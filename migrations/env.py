"""Alembic environment: uses the given connection, or else the database of the settings."""

from alembic import context
from sqlalchemy import Connection

import app.models  # noqa: F401 - fills Base.metadata
from app.db.base import Base
from app.db.engine import make_engine
from app.db.schema import is_compared
from app.settings import load


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        include_name=is_compared,
        user_module_prefix="app.db.base.",
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Run the migrations on the caller's connection if there is one."""
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is not None:
        _run(connection)
        return
    with make_engine(load().database).connect() as own, own.begin():
        _run(own)


main()

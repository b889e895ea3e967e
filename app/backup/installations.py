"""The installation that is backed up or restored to: its database, artifacts and secret."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from app.backup.backup_manifest import Kind
from app.db import Database, schema
from app.db.base import Base
from app.db.connection_errors import in_words
from app.errors import Invalid, Unavailable

VERSIONS = "alembic_version"
_PEOPLE = ("user", "project", "audit_event")


@dataclass(frozen=True, slots=True)
class Installation:
    """Where an installation keeps what it has.

    Args:
        database_url: a SQLAlchemy URL.
        data_dir: the data folder, in which plain copies of the database may lie for a while.
        artifacts: the artifact root, a folder or an fsspec URL.
        secret_file: the file of the generated secret; None if the environment has it.
    """

    database_url: str
    data_dir: Path
    artifacts: str
    secret_file: Path | None

    @property
    def kind(self) -> Kind:
        """The kind of database."""
        name = make_url(self.database_url).get_backend_name()
        return "sqlite" if name == "sqlite" else "postgresql"

    @property
    def database_file(self) -> Path:
        """The file of a SQLite database."""
        return Path(make_url(self.database_url).database or "").absolute()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open the database.

        Raises:
            Invalid: there is no file of a SQLite database; opening it would create one.
            Unavailable: it does not respond.
        """
        if self.kind == "sqlite" and not self.database_file.exists():
            raise Invalid(f"there is no database at {self.database_file}")
        found = Database(self.database_url, pool_size=2)
        try:
            yield found
        except SQLAlchemyError as error:
            raise Unavailable(f"the database does not respond: {in_words(error)}") from error
        finally:
            found.dispose()


def known_revision(revision: str | None, what: str) -> str:
    """Return the revision of a database or a backup.

    Raises:
        Invalid: there are no tables, or a newer version wrote them.
    """
    if revision is None:
        raise Invalid(f"{what} is empty: there is nothing to back up")
    if not schema.is_known(revision):
        raise Invalid(
            f"{what} is at revision {revision}, which this version does not know: install the "
            "newer version of Attune that wrote it"
        )
    return revision


def tables(connection: Connection) -> list[str]:
    """Return the product's tables that are there, sorted."""
    present = set(inspect(connection).get_table_names())
    return sorted(present & {*Base.metadata.tables, VERSIONS})


def strangers(connection: Connection) -> list[str]:
    """Return the tables that are not the product's; on SQLite nobody shares the file."""
    if connection.dialect.name == "sqlite":
        return []
    own = {*Base.metadata.tables, *schema.WORD_INDEXES, VERSIONS}
    return sorted(set(inspect(connection).get_table_names()) - own)


def rows(connection: Connection) -> dict[str, int]:
    """Return the number of rows of every table."""
    return {table: _count(connection, table) for table in tables(connection)}


def is_empty(connection: Connection) -> bool:
    """Whether nobody has used the database yet."""
    present = tables(connection)
    return not any(_count(connection, table) for table in _PEOPLE if table in present)


def _count(connection: Connection, table: str) -> int:
    quoted = connection.dialect.identifier_preparer.quote(table)
    return int(connection.scalar(text(f"SELECT count(*) FROM {quoted}")) or 0)

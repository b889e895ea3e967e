"""Engines and transactions: the only place that commits.

A request is one transaction, a job is many short ones. On SQLite a writing transaction begins
IMMEDIATE, so that two writers queue up instead of failing at the commit.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

SQLITE_BUSY_TIMEOUT_S = 30.0
RESTED_S = 1.0  # a pooled connection is asked whether it still is one after this long

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


class Database:
    """One engine with a writing and a reading session factory.

    Args:
        url: a SQLAlchemy URL; `postgresql://` is read as psycopg 3.
        clock: replaces the database's clock (tests only).
        pool_size: connections kept; at least the web's thread pool.
        idle_s: PostgreSQL ends a transaction that does nothing for so long.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        pool_size: int = 40,
        idle_s: int | None = None,
    ) -> None:
        self.engine = make_engine(url, pool_size=pool_size, idle_s=idle_s)
        info: dict[str, Any] = {"database": self} | ({"clock": clock} if clock else {})
        writing = self.engine.execution_options(attune_writes=True)
        self._write = sessionmaker(writing, expire_on_commit=False, info=info)
        self._read = sessionmaker(self.engine, expire_on_commit=False, autoflush=False, info=info)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a writing transaction; commit at the end, roll back on any error."""
        with self._write() as session, session.begin():
            yield session
        for after in session.info.pop("after_commit", []):
            after()

    @contextmanager
    def reader(self) -> Iterator[Session]:
        """Open a reading session; whatever it changed is rolled back."""
        with self._read() as session:
            yield session

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def after_commit(session: Session, action: Callable[[], None]) -> None:
    """Run `action` once the transaction has been committed; never if it rolls back."""
    session.info.setdefault("after_commit", []).append(action)


def later(session: Session, work: Callable[[Session], None]) -> None:
    """Do `work` in a transaction of its own once this one has been committed.

    What is asked for here must also come about without it: a database that is gone by then is
    logged and nothing more, because the request that asked has been kept already.
    """
    database: Database = session.info["database"]

    def act() -> None:
        try:
            with database.transaction() as own:
                work(own)
        except SQLAlchemyError as error:
            log.warning("work after a commit was left to the sweeper", error=str(error))

    after_commit(session, act)


def make_engine(url: str, *, pool_size: int = 40, idle_s: int | None = None) -> Engine:
    """Make an engine with the pragmas and driver that the product expects."""
    parsed = make_url(url)
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S}, pool_size=pool_size
        )
        _configure_sqlite(engine)
        return engine
    if idle_s is not None:
        parsed = _impatient(parsed, idle_s)
    engine = create_engine(
        parsed, pool_size=pool_size, max_overflow=10, pool_timeout=10, pool_use_lifo=True
    )
    _ping_what_rested(engine)
    return engine


def now(session: Session) -> datetime:
    """Return the database's present time (leases are compared by no other clock).

    The embedded SQLite runs in this process's machine, so its clock is this machine's.
    """
    clock: Clock | None = session.info.get("clock")
    if clock is not None:
        return clock()
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment.astimezone(UTC)


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=DELETE")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("attune_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _impatient(url: URL, idle_s: int) -> URL:
    """Let the server end a transaction whose process froze in it: its locks would bind others."""
    options = f"{url.query.get('options', '')} -c idle_in_transaction_session_timeout={idle_s}s"
    return url.update_query_dict({"options": options.strip()})


def _ping_what_rested(engine: Engine) -> None:
    """Ask a connection that has rested whether it still is one; a busy one shows by itself.

    SQLAlchemy's own `pool_pre_ping` asks before every transaction, which is a round trip each.
    """

    @event.listens_for(engine, "checkin")
    def _remember(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        since = record.info.get("rests_since")
        if since is None or time.monotonic() - since < RESTED_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

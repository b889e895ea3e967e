"""Engines and transactions: the only place that commits.

A request is one transaction, a job is many short ones. On SQLite a writing transaction begins
IMMEDIATE, so that two writers queue up instead of failing at the commit.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

SQLITE_BUSY_TIMEOUT_S = 30.0
ASK_AGAIN_S = 60.0  # the database for its time, in a session that lives long
RESTED_S = 1.0  # a pooled connection is asked whether it still is one after this long

READ_ONLY: dict[str, Any] = {"postgresql_readonly": True}

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
        reading = self.engine.execution_options(**READ_ONLY) if self._is_shared else self.engine
        self._read = sessionmaker(reading, expire_on_commit=False, autoflush=False, info=info)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a writing transaction; commit at the end, roll back on any error.

        What was loaded can still be read after an error, by the page that tells of it.
        """
        with self._write() as session, session.begin():
            try:
                yield session
            except BaseException:
                session.expunge_all()  # a rollback would expire it
                raise
        for after in session.info.pop("after_commit", []):
            after()

    @contextmanager
    def reader(self) -> Iterator[Session]:
        """Open a reading session; nothing that it changed is kept.

        PostgreSQL is told that it only reads, and it ends by a commit: a rollback makes psycopg
        forget every prepared statement of the connection.
        """
        with self._read() as session:
            yield session
            if self._is_shared:
                session.expunge_all()
                session.commit()

    @property
    def _is_shared(self) -> bool:
        return self.engine.dialect.name == "postgresql"

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
    engine = create_engine(
        _with_options(parsed, idle_s),
        pool_size=pool_size,
        max_overflow=10,
        pool_timeout=10,
        pool_use_lifo=True,
    )
    _ping_what_rested(engine)
    return engine


def now(session: Session) -> datetime:
    """Return the database's present time (leases are compared by no other clock).

    It is asked once; what has passed since is counted here. The embedded SQLite runs in this
    process's machine, so its clock is this machine's.
    """
    clock: Clock | None = session.info.get("clock")
    if clock is not None:
        return clock()
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    read_at, moment = session.info.get("read_clock", (-ASK_AGAIN_S, None))
    passed_s = time.monotonic() - read_at
    if passed_s >= ASK_AGAIN_S:
        return set_clock(session, session.scalars(select(func.clock_timestamp())).one())
    present: datetime = moment + timedelta(seconds=passed_s)
    return present


def set_clock(session: Session, moment: datetime) -> datetime:
    """Take over the database's time from a statement that has read it beside other things."""
    utc = moment.astimezone(UTC)
    session.info["read_clock"] = (time.monotonic(), utc)
    return utc


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


def _with_options(url: URL, idle_s: int | None) -> URL:
    """Add what the server is told at the start of a connection; the URL's own options stay.

    Compiling a plan to machine code (jit) takes longer than any of our statements. A transaction
    whose process froze in it is ended by the server, because its locks would bind others.
    """
    options = [*_options_of(url), "-c jit=off"]
    if idle_s is not None:
        options.append(f"-c idle_in_transaction_session_timeout={idle_s}s")
    return url.update_query_dict({"options": " ".join(options)})


def _options_of(url: URL) -> tuple[str, ...]:
    given = url.query.get("options", ())
    return (given,) if isinstance(given, str) else given


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

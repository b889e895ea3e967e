"""Engines and transactions: the only module that commits.

A request is one transaction, a job is many short ones. On SQLite a writing transaction begins
IMMEDIATE, so that two writers wait for each other instead of failing at the commit.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from app.db import copying
from app.domain import search_words

SQLITE_BUSY_TIMEOUT_S = 30.0
CLOCK_REFRESH_S = 60.0  # how long a session relies on the last time read from the database
IDLE_BEFORE_PING_S = 1.0  # a pooled connection that was idle for longer is pinged before use

WORD_FUNCTIONS: dict[str, Callable[[str | None], str]] = {
    "attune_words": search_words.indexed,
    "attune_words_of_messages": search_words.indexed_messages,
}
READ_ONLY: dict[str, Any] = {"postgresql_readonly": True}

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


class Database:
    """One engine with a writing and a reading session factory.

    Args:
        url: a SQLAlchemy URL; `postgresql://` is read as psycopg 3.
        clock: replaces the database's clock (tests only).
        pool_size: connections kept; at least the web's thread pool.
        idle_s: seconds after which PostgreSQL ends an idle transaction.
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
        apart = self.engine.execution_options(attune_statements_apart=True)  # SQLite only
        self._read_apart = sessionmaker(apart, expire_on_commit=False, autoflush=False, info=info)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a writing transaction; commit at the end, roll back on any error.

        Loaded objects can still be read after an error, for example by the error page.
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
        """Open a reading session; changes made in it are discarded.

        On PostgreSQL the transaction is read-only and ends with a commit, because a rollback makes
        psycopg forget all prepared statements of the connection.
        """
        with self._read() as session:
            yield session
            if self._is_shared:
                session.expunge_all()
                session.commit()

    @contextmanager
    def long_reader(self) -> Iterator[Session]:
        """Open a reading session in which long computations keep nobody waiting.

        Each statement sees what is committed when it begins, on both databases. In the transaction
        of a `reader` on SQLite, nobody could commit from its first statement to its end.
        """
        if self._is_shared:
            with self.reader() as session:
                yield session
            return
        with self._read_apart() as session:
            yield session

    @property
    def _is_shared(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def after_commit(session: Session, action: Callable[[], None]) -> None:
    """Run `action` after the transaction has been committed, and never if it is rolled back."""
    session.info.setdefault("after_commit", []).append(action)


def later(session: Session, work: Callable[[Session], None]) -> None:
    """Do `work` in a separate transaction after this one has been committed.

    The sweeper must be able to do the same work: if the database has become unavailable by then,
    that is only logged, because the request that led here has already been committed.
    """
    database: Database = session.info["database"]

    def act() -> None:
        try:
            with database.transaction() as new_session:
                work(new_session)
        except SQLAlchemyError as error:
            log.warning("work after a commit failed and is left to the sweeper", error=str(error))

    after_commit(session, act)


def make_engine(url: str, *, pool_size: int = 40, idle_s: int | None = None) -> Engine:
    """Create an engine with the pragmas and the driver that the product requires."""
    parsed = make_url(url)
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        _create_privately(parsed.database)
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
    _ping_idle_connections(engine)
    copying.keep_order(engine)
    return engine


def now(session: Session) -> datetime:
    """Return the current time of the database, the only clock for leases.

    The database is queried once; after that the elapsed time is added. SQLite runs on the same
    machine as this process, so its clock is the machine's.
    """
    clock: Clock | None = session.info.get("clock")
    if clock is not None:
        return clock()
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    read_at, moment = session.info.get("read_clock", (-CLOCK_REFRESH_S, None))
    elapsed_s = time.monotonic() - read_at
    if elapsed_s >= CLOCK_REFRESH_S:
        return set_clock(session, session.scalars(select(func.clock_timestamp())).one())
    present: datetime = moment + timedelta(seconds=elapsed_s)
    return present


def set_clock(session: Session, moment: datetime) -> datetime:
    """Set the session's clock from a statement that read the database's time along with data."""
    utc = moment.astimezone(UTC)
    session.info["read_clock"] = (time.monotonic(), utc)
    return utc


def _create_privately(path: str | None) -> None:
    """Create a database file that only its owner can read; SQLite would let everyone."""
    if not path or path == ":memory:" or path.startswith("file:"):
        return
    with suppress(OSError):  # SQLite says what is wrong with the folder
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is issued below
        for name, function in WORD_FUNCTIONS.items():  # called by the triggers of the word indexes
            connection.create_function(name, 1, function, deterministic=True)
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=DELETE")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("attune_statements_apart", False):
            return
        writes = options.get("attune_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _with_options(url: URL, idle_s: int | None) -> URL:
    """Add the connection's startup options to those in the URL.

    JIT compilation takes longer than any of our statements. The server ends a transaction whose
    process has frozen, because its locks would block others.
    """
    options = [*_options_of(url), "-c jit=off"]
    if idle_s is not None:
        options.append(f"-c idle_in_transaction_session_timeout={idle_s}s")
    return url.update_query_dict({"options": " ".join(options)})


def _options_of(url: URL) -> tuple[str, ...]:
    options = url.query.get("options", ())
    return (options,) if isinstance(options, str) else options


def _ping_idle_connections(engine: Engine) -> None:
    """Ping a connection that was idle before it is used again.

    SQLAlchemy's own `pool_pre_ping` pings before every transaction, at the cost of a round trip.
    """

    @event.listens_for(engine, "checkin")
    def _remember(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        since = record.info.get("idle_since")
        if since is None or time.monotonic() - since < IDLE_BEFORE_PING_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

"""Rows sent to PostgreSQL with COPY while the caller makes the next ones.

PostgreSQL checks and indexes rows for longer than it takes to make them. A `Copier` sends them from
a thread of its own, so that both go on at once: one thread waits for the server and needs no
processor time, the other computes. Rows are sent one table after the other, in the order given. Any
other statement of the connection, and the end of its transaction, first wait until all of them have
been stored.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import Connection, Engine, event

from app.db import foreign_keys
from app.db.foreign_keys import Referred

# The backslash first: the others are written with it.
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}

# For the rest of the transaction, as far as another statement does not end it before.
_WITHOUT_TRIGGERS = "SET LOCAL session_replication_role = replica"
_WITH_TRIGGERS = "SET LOCAL session_replication_role = origin"

_COPIER: Final = "copier"
"""The copier of a connection, in its info."""


class Copier:
    """Sends rows from its own thread, which ends with the `with` block."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="copy")
        self._sent: list[Future[None]] = []

    def __enter__(self) -> Self:
        """Return the copier; its thread starts with the first rows."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until nothing is being sent."""
        self._thread.shutdown()

    def send(
        self,
        connection: Connection,
        table: str,
        columns: Sequence[str],
        rows: str,
        referred: Referred | None = None,
    ) -> None:
        """Send rows that `lines` has written; they are stored once `wait` has returned.

        With `referred`, the triggers of the table do not fire, which check its foreign keys among
        others: the rows that it names are locked, and all other keys lead to rows that are held.
        """
        connection.info[_COPIER] = self
        driver = connection.connection.driver_connection
        self._sent.append(self._thread.submit(_send, driver, table, columns, rows, referred))

    def wait(self) -> None:
        """Wait until what was sent is stored; the first error is raised, once."""
        sent, self._sent = self._sent, []
        wait(sent)
        for each in sent:
            each.result()


def send(connection: Connection, table: str, columns: Sequence[str], rows: str) -> None:
    """Send rows that `lines` has written, and wait until they are stored."""
    _send(connection.connection.driver_connection, table, columns, rows)


def keep_order(engine: Engine) -> None:
    """Let statements of a connection wait for the rows that are being sent through it."""

    @event.listens_for(engine, "before_cursor_execute")
    def _before_statement(connection: Connection, *_statement: Any) -> None:
        _wait(connection)

    event.listen(engine, "commit", _wait)

    @event.listens_for(engine, "rollback")
    def _before_rollback(connection: Connection) -> None:
        with suppress(Exception):  # the error is known, or does not matter any more
            _wait(connection)


def lines(by_column: Sequence[Sequence[Any]]) -> str:
    """Return rows, given by column, in the text format of COPY.

    Raises:
        TypeError: a value is of a type that has no such form.
    """
    fields = [_column(values) for values in by_column]
    return "\n".join(map("\t".join, zip(*fields, strict=True))) + "\n"


def _wait(connection: Connection) -> None:
    copier: Copier | None = connection.info.pop(_COPIER, None)
    if copier is not None:
        copier.wait()


def _send(
    driver: Any, table: str, columns: Sequence[str], rows: str, referred: Referred | None = None
) -> None:
    statement = f'COPY "{table}" ({", ".join(columns)}) FROM STDIN'
    with driver.cursor() as cursor:
        if referred is not None:
            foreign_keys.hold(cursor, table, referred)
            cursor.execute(_WITHOUT_TRIGGERS)
        # As one text: writing the values one by one takes several times as long.
        with cursor.copy(statement) as copy:
            copy.write(rows)
        if referred is not None:
            cursor.execute(_WITH_TRIGGERS)


def _column(values: Sequence[Any]) -> Sequence[str]:
    first = values[0]
    if values.count(first) == len(values):
        return [_field(first)] * len(values)
    kinds = set(map(type, values))
    if kinds == {int}:
        return list(map(str, values))
    if kinds != {str}:
        return [_field(value) for value in values]
    joined = "".join(values)
    special = [mark for mark in _ESCAPES if mark in joined]
    return values if not special else [_escaped(value) for value in values]


def _field(value: Any) -> str:
    """Return a value in the text format of COPY."""
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return _escaped(str(value))
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raw = getattr(value, "obj", value)  # psycopg wraps bytes
    if isinstance(raw, bytes):
        return rf"\\x{raw.hex()}"
    raise TypeError(f"cannot copy a value of type {type(value).__name__}")


def _escaped(text: str) -> str:
    for mark, escape in _ESCAPES.items():
        text = text.replace(mark, escape)
    return text

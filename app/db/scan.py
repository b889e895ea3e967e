"""Reading very many rows one after another, without keeping anybody from writing."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final, TypeVarTuple, cast

from sqlalchemy import ColumnElement, Row, Select, and_, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

Columns = TypeVarTuple("Columns")

SQLITE_ROWS: Final = 1_000
"""Rows of one statement on SQLite: some 20 ms."""
SQLITE_COUNTED: Final = 20_000
"""Keys of one statement that counts on SQLite."""


def scan(
    session: Session,
    query: Select[*Columns],
    key: InstrumentedAttribute[int] | ColumnElement[int],
    *,
    size: int,
    after: int = 0,
) -> Iterator[Sequence[Row[*Columns]]]:
    """Yield the rows of a query whose key is greater than `after`, at most `size` at a time.

    PostgreSQL sends the rows of one statement as they are wanted. On SQLite nobody can commit while
    a statement is being read, so that there each piece is a statement of its own, which has ended
    when the piece is yielded. Rows that are committed in the meantime can be among later pieces.

    Args:
        session: One that reads, such as that of `Database.long_reader`.
        query: Its first column is `key`, and it is ordered by `key` first. It has no other bound of
            `key`: of two, SQLite searches by the first one and reads all rows up to the second.
        key: An integer that grows from row to row; a few rows may share one.
        size: The most rows of a piece.
        after: The key after which to begin.
    """
    if session.get_bind().dialect.name == "postgresql":
        streamed = session.execute(query.where(key > after).execution_options(yield_per=size))
        yield from streamed.partitions(size)
        return
    limit = min(size, SQLITE_ROWS)
    while True:
        rows = session.execute(query.where(key > after).limit(limit)).all()
        if len(rows) < limit:
            if rows:
                yield rows
            return
        keys = [cast(tuple[int, ...], row)[0] for row in rows]
        # The last key may have more rows than fitted.
        whole = bisect_left(keys, keys[-1])
        if whole == 0:
            limit *= 2
            continue
        yield rows[:whole]
        after = keys[whole - 1]


def key_ranges(
    session: Session, key: InstrumentedAttribute[int] | ColumnElement[int]
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that divide the rows of a table, for counts that can be added up.

    On PostgreSQL there is one for all rows; on SQLite each has some thousands of keys, so that
    nobody waits for one statement that counts everything.
    """
    if session.get_bind().dialect.name == "postgresql":
        yield true()
        return
    last = session.scalar(select(func.max(key))) or 0
    for after in range(0, last, SQLITE_COUNTED):
        yield and_(key > after, key <= after + SQLITE_COUNTED)

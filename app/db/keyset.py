"""Pages of a long list in the order of a column: each starts after the last row of the one before.

The order ends with the row's key, so that it is total: rows with the same value are neither shown
twice nor left out. Values to order by are texts that are never NULL, or there is only the key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.errors import Invalid

BY_KEY: Final = ""

TextColumn = SQLColumnExpression[Any]
"""A column of texts, such as a name, or the name of a state."""


@dataclass(frozen=True, slots=True)
class ListOrder:
    """The column that a list is in the order of, and where one of its pages starts.

    `column` is the name of a column, or empty for the key alone. The page starts after the row with
    the key `after`, which has the value `value` in the column; without `after`, it is the first.
    """

    column: str = BY_KEY
    is_ascending: bool = False
    after: int | None = None
    value: str = ""


NEWEST_FIRST: Final = ListOrder()


@dataclass(frozen=True, slots=True)
class ListPage:
    """The rows of a page as the query selects them, and where the next page starts, if any."""

    rows: tuple[Any, ...]
    next: ListOrder | None


def page(
    session: Session,
    query: Select[*tuple[Any, ...]],
    key: InstrumentedAttribute[int],
    columns: Mapping[str, TextColumn],
    order: ListOrder,
    *,
    limit: int,
) -> ListPage:
    """Return a page of the rows that a query selects; `columns` are those that it may order by.

    Raises:
        Invalid: the list cannot be ordered by the column.
    """
    by = [_column(columns, order.column)] if order.column else []
    terms: list[SQLColumnExpression[Any]] = [*by, key]
    wanted = query.add_columns(*terms).limit(limit + 1)
    if order.after is not None:
        start = [order.value] if by else []
        wanted = wanted.where(_after(terms, [*start, order.after], order))
    found = session.execute(
        wanted.order_by(*(term.asc() if order.is_ascending else term.desc() for term in terms))
    ).all()
    shown = found[:limit]
    following = None
    if len(found) > limit:
        value = str(shown[-1][-2]) if by else ""
        following = ListOrder(order.column, order.is_ascending, shown[-1][-1], value)
    return ListPage(tuple(row[: -len(terms)] for row in shown), following)


def _column(columns: Mapping[str, TextColumn], name: str) -> TextColumn:
    if name not in columns:
        known = ", ".join(columns) or "nothing but its numbers"
        raise Invalid(f"the list cannot be sorted by {name!r}, only by {known}")
    return columns[name]


def _after(
    terms: list[SQLColumnExpression[Any]],
    start: list[str | int],
    order: ListOrder,
) -> ColumnElement[bool]:
    row, first = tuple_(*terms), tuple_(*start)
    return row > first if order.is_ascending else row < first

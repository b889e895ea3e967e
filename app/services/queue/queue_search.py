"""The first open comparison that a labeler may judge, as a subquery, as each database runs it best.

The order is priority, then nearest to complete, then oldest. Comparisons with the same priority and
number of judgments form a level; the levels are found one by one, each by one step in the queue's
index. The subqueries have the parameters `in_project`, `of_purpose` and `for_labeler`.

They use tables instead of mapped classes and are short, because both cost time with every claim
(psycopg parses a statement of more than 4,096 characters anew each time).
"""

from collections.abc import Callable
from functools import partial
from typing import Final, cast

from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    Table,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
    tuple_,
)

from app.models import Comparison
from app.services.queue import eligibility

ONE: Final[ColumnElement[int]] = literal_column("1")
"""A literal: with the limit as a parameter, PostgreSQL would plan every claim anew."""

OfLevel = Callable[[FromClause], ColumnElement[int]]

_TABLE = cast(Table, Comparison.__table__)


def first(window: int | None, dialect: str) -> ScalarSelect[int]:
    """Return the subquery in a dialect, "postgresql" or "sqlite".

    With a window, only so many of the oldest comparisons of each level are searched.
    """
    if dialect == "sqlite":
        # It takes no pair of columns as the bounds of an index, and sorts again what a subquery
        # has sorted: PostgreSQL's form would read and check a whole window of every level.
        return _by_level(_next_by_columns, partial(_first_by_columns, window))
    if window is None:
        return _anywhere()
    return _by_level(_next_by_pair, partial(_first_in_window, window))


def _open(of: FromClause) -> ColumnElement[bool]:
    return and_(
        of.c.project_id == bindparam("in_project"),
        of.c.purpose == bindparam("of_purpose"),
        of.c.is_open == true(),
    )


def _by_level(next_level: OfLevel, first_of_level: OfLevel) -> ScalarSelect[int]:
    """Select the first one that the labeler may judge, level by level, the highest first.

    Args:
        next_level: selects a comparison of the level below, given one of the level above.
        first_of_level: selects what the labeler may judge of the level of a comparison, if any.
    """
    rows, above, top = (_TABLE.alias(name) for name in ("first", "above", "top"))
    highest = (
        select(rows.c.id)
        .where(_open(rows))
        .order_by(rows.c.priority.desc(), rows.c.done_slots.desc())
        .limit(ONE)
    )
    level = select(highest.scalar_subquery().label("first_id")).cte("level", recursive=True)
    level = level.union_all(
        select(next_level(above)).join_from(level, above, above.c.id == level.c.first_id)
    )
    found = (
        select(first_of_level(top).label("id"))
        .join_from(level, top, top.c.id == level.c.first_id)
        # Keeps PostgreSQL's planner from running the lookup twice per level, and ends SQLite's
        # search with the first level that has one.
        .offset(literal_column("0"))
        .subquery("found")
    )
    return select(found.c.id).where(found.c.id.is_not(None)).limit(ONE).scalar_subquery()


def _next_by_pair(above: FromClause) -> ScalarSelect[int]:
    below = _TABLE.alias("below")
    return (
        select(below.c.id)
        .where(
            _open(below),
            tuple_(below.c.priority, below.c.done_slots)
            < tuple_(above.c.priority, above.c.done_slots),
        )
        .order_by(below.c.priority.desc(), below.c.done_slots.desc())
        .limit(ONE)
        .correlate(above)
        .scalar_subquery()
    )


def _first_in_window(size: int, top: FromClause) -> ScalarSelect[int]:
    inside = _TABLE.alias("inside")
    level = tuple_(inside.c.priority, inside.c.done_slots)
    of_top = tuple_(top.c.priority, top.c.done_slots)
    window = (
        select(inside.c.priority, inside.c.done_slots, inside.c.id)
        # Written as bounds and ordered by all three, so that only the queue's index matches;
        # otherwise PostgreSQL scans the primary key past everything that is done.
        .where(_open(inside), level >= of_top, level <= of_top)
        .order_by(inside.c.priority, inside.c.done_slots, inside.c.id)
        .limit(literal_column(str(size)))
        .correlate(top)
        .subquery("in_window")
    )
    return (
        select(_TABLE.c.id)
        .join_from(window, _TABLE, _TABLE.c.id == window.c.id)
        .where(
            _TABLE.c.is_open == true(),
            eligibility.may_judge(bindparam("for_labeler"), one_by_one=True),
        )
        .order_by(window.c.priority, window.c.done_slots, window.c.id)
        .limit(ONE)
        .with_for_update(skip_locked=True, key_share=True, of=_TABLE)
        .correlate(top)
        .scalar_subquery()
    )


def _anywhere() -> ScalarSelect[int]:
    return (
        select(_TABLE.c.id)
        .where(_open(_TABLE), eligibility.may_judge(bindparam("for_labeler")))
        .order_by(_TABLE.c.priority.desc(), _TABLE.c.done_slots.desc(), _TABLE.c.id)
        .limit(ONE)
        .with_for_update(skip_locked=True, key_share=True)
        .correlate(None)
        .scalar_subquery()
    )


def _next_by_columns(above: FromClause) -> ColumnElement[int]:
    lower: ColumnElement[int] = func.coalesce(_lower_of_priority(above), _of_lower_priority(above))
    return lower


def _lower_of_priority(above: FromClause) -> ScalarSelect[int]:
    same = _TABLE.alias("same")
    return (
        select(same.c.id)
        .where(
            _open(same),
            same.c.priority == above.c.priority,
            same.c.done_slots < above.c.done_slots,
        )
        .order_by(same.c.done_slots.desc())
        .limit(ONE)
        .correlate(above)
        .scalar_subquery()
    )


def _of_lower_priority(above: FromClause) -> ScalarSelect[int]:
    below = _TABLE.alias("below")
    return (
        select(below.c.id)
        .where(_open(below), below.c.priority < above.c.priority)
        .order_by(below.c.priority.desc(), below.c.done_slots.desc())
        .limit(ONE)
        .correlate(above)
        .scalar_subquery()
    )


def _first_by_columns(window: int | None, top: FromClause) -> ScalarSelect[int]:
    inside = _TABLE.alias("inside")
    of_level = _of_level(_TABLE, top)
    if window is not None:
        oldest = (
            select(inside.c.id)
            .where(_of_level(inside, top))
            .order_by(inside.c.id)
            .limit(literal_column(str(window)))
            .correlate(top)
            .subquery("oldest")
        )
        last = select(func.max(oldest.c.id)).correlate(top).scalar_subquery()
        of_level = and_(of_level, _TABLE.c.id <= last)
    return (
        select(_TABLE.c.id)
        .where(of_level, eligibility.may_judge(bindparam("for_labeler")))
        .order_by(_TABLE.c.id)
        .limit(ONE)
        .correlate(top)
        .scalar_subquery()
    )


def _of_level(of: FromClause, top: FromClause) -> ColumnElement[bool]:
    return and_(_open(of), of.c.priority == top.c.priority, of.c.done_slots == top.c.done_slots)

"""The open comparison that a labeler gets next, as one statement, and taking one of its slots.

The order is priority, then nearest to complete, then oldest. Comparisons with the same priority and
number of judgments form a level. A labeler who has judged most of a level would scan past all of it
with each claim. Each level is therefore searched in a window of its oldest comparisons; only if all
windows fail is the whole queue searched.

The statements use tables instead of mapped classes and are short, because both cost time with every
claim (psycopg parses a statement of more than 4,096 characters anew each time).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from app.models import Comparison, ComparisonCompletion, Purpose
from app.services.queue import eligibility

WINDOW = 128  # oldest comparisons of a level that are searched before the whole queue

# A literal: with the limit as a parameter, PostgreSQL would plan every claim anew.
_ONE: ColumnElement[int] = literal_column("1")
_TABLE = cast(Table, Comparison.__table__)
_MEMBERS = cast(Table, ComparisonCompletion.__table__)


@dataclass(frozen=True, slots=True)
class TakenComparison:
    """A comparison with a slot taken: the comparison it repeats, if any, and its k completions."""

    comparison_id: int
    origin_id: int | None
    k: int


def find(
    session: Session, project_id: int, labeler_id: int, purposes: Sequence[Purpose]
) -> int | None:
    """Return the first open comparison for this labeler, locked, trying the purposes in order."""
    session.flush()
    for window in (WINDOW, None):
        for purpose in purposes:
            scope = _scope(project_id, labeler_id, purpose)
            comparison_id: int | None = session.connection().scalar(_finding(window), scope)
            if comparison_id is not None:
                return comparison_id
    return None


def find_and_take(
    session: Session,
    project_id: int,
    labeler_id: int,
    purposes: Sequence[Purpose],
    *,
    is_first: bool = False,
) -> TakenComparison | None:
    """Find the next comparison and count one of its slots as taken.

    With `is_first`, nothing is taken for a labeler who holds a lease. To ask in the same statement
    costs no round trip, and nearly every claim is a first one.
    """
    for window in (WINDOW, None):
        for purpose in purposes:
            scope = _scope(project_id, labeler_id, purpose)
            taken = _taken(session, _finding_and_taking(window, is_first), scope)
            if taken is not None:
                return taken
    return None


def take(session: Session, comparison_id: int) -> TakenComparison | None:
    """Count one slot of a comparison as taken; return None if none is open."""
    return _taken(session, _TAKE, {"of_comparison": comparison_id})


def _taken(
    session: Session, statement: Update, scope: dict[str, int | Purpose]
) -> TakenComparison | None:
    session.flush()
    row = session.connection().execute(statement, scope).first()
    if row is None:
        return None
    known = session.identity_map.get(session.identity_key(Comparison, row[0]))
    if known is not None:
        session.refresh(known)
    return TakenComparison(*row)


def _scope(project_id: int, labeler_id: int, purpose: Purpose) -> dict[str, int | Purpose]:
    return {"in_project": project_id, "for_labeler": labeler_id, "of_purpose": purpose}


def _open(of: FromClause) -> ColumnElement[bool]:
    return and_(
        of.c.project_id == bindparam("in_project"),
        of.c.purpose == bindparam("of_purpose"),
        of.c.is_open == true(),
    )


def _in_windows(size: int) -> ScalarSelect[int]:
    """Select the first comparison that the labeler may judge in the windows of all levels."""
    rows, below, above, top = (_TABLE.alias(name) for name in ("first", "below", "above", "top"))
    highest = (
        select(rows.c.id)
        .where(_open(rows))
        .order_by(rows.c.priority.desc(), rows.c.done_slots.desc())
        .limit(_ONE)
    )
    level = select(highest.scalar_subquery().label("first_id")).cte("level", recursive=True)
    next_level = (
        select(below.c.id)
        .where(
            _open(below),
            tuple_(below.c.priority, below.c.done_slots)
            < tuple_(above.c.priority, above.c.done_slots),
        )
        .order_by(below.c.priority.desc(), below.c.done_slots.desc())
        .limit(_ONE)
        .correlate(above)
    )
    level = level.union_all(
        select(next_level.scalar_subquery()).join_from(level, above, above.c.id == level.c.first_id)
    )
    found = (
        select(_first_in_window(size, top).scalar_subquery().label("id"))
        .join_from(level, top, top.c.id == level.c.first_id)
        .offset(literal_column("0"))  # keeps the planner from running the lookup twice per level
        .subquery("found")
    )
    return select(found.c.id).where(found.c.id.is_not(None)).limit(_ONE).scalar_subquery()


def _first_in_window(size: int, top: FromClause) -> Select[int]:
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
        .where(_TABLE.c.is_open == true(), eligibility.may_judge(bindparam("for_labeler")))
        .order_by(window.c.priority, window.c.done_slots, window.c.id)
        .limit(_ONE)
        .with_for_update(skip_locked=True, key_share=True, of=_TABLE)
        .correlate(top)
    )


def _anywhere() -> ScalarSelect[int]:
    return (
        select(_TABLE.c.id)
        .where(_open(_TABLE), eligibility.may_judge(bindparam("for_labeler")))
        .order_by(_TABLE.c.priority.desc(), _TABLE.c.done_slots.desc(), _TABLE.c.id)
        .limit(_ONE)
        .with_for_update(skip_locked=True, key_share=True)
        .correlate(None)
        .scalar_subquery()
    )


def _found(window: int | None) -> ScalarSelect[int]:
    return _anywhere() if window is None else _in_windows(window)


def _taking(comparison_id: ColumnElement[int] | ScalarSelect[int]) -> Update:
    k = (
        select(func.count())
        .where(_MEMBERS.c.comparison_id == _TABLE.c.id)
        .correlate(_TABLE)
        .scalar_subquery()
    )
    taking: Update = (
        update(_TABLE)
        .where(_TABLE.c.id == comparison_id, _TABLE.c.is_open == true())
        .values(open_slots=_TABLE.c.open_slots - _ONE, is_open=_TABLE.c.open_slots > _ONE)
        .returning(_TABLE.c.id, _TABLE.c.origin_id, k)
    )
    return taking


@cache
def _finding(window: int | None) -> Select[int]:
    return select(_found(window))


@cache
def _finding_and_taking(window: int | None, is_first: bool) -> Update:
    taking = _taking(_found(window))
    if not is_first:
        return taking
    holds = exists().where(eligibility.is_live(bindparam("in_project"), bindparam("for_labeler")))
    return taking.where(~holds)


_TAKE = _taking(bindparam("of_comparison"))

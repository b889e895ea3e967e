"""The open comparison that a labeler gets next, as one statement, and taking one of its slots.

A labeler who has judged most of the queue would scan past all of it with each claim. The oldest
comparisons of each level are therefore searched first (`queue_search`); only if there is none among
them is the whole queue searched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Table,
    Update,
    bindparam,
    exists,
    func,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session

from app.models import Comparison, ComparisonCompletion, Purpose
from app.services.queue import eligibility, queue_search
from app.services.queue.queue_search import ONE

WINDOW = 128  # oldest comparisons of a level that are searched before the whole queue

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
    connection = session.connection()
    for window in (WINDOW, None):
        finding = _finding(window, connection.dialect.name)
        for purpose in purposes:
            scope = _scope(project_id, labeler_id, purpose)
            comparison_id: int | None = connection.scalar(finding, scope)
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
    dialect = session.get_bind().dialect.name
    for window in (WINDOW, None):
        finding = _finding_and_taking(window, is_first, dialect)
        for purpose in purposes:
            taken = _taken(session, finding, _scope(project_id, labeler_id, purpose))
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
        .values(
            open_slots=_TABLE.c.open_slots - ONE,
            is_open=_TABLE.c.open_slots > ONE,
        )
        .returning(_TABLE.c.id, _TABLE.c.origin_id, k)
    )
    return taking


@cache
def _finding(window: int | None, dialect: str) -> Select[int]:
    return select(queue_search.first(window, dialect))


@cache
def _finding_and_taking(window: int | None, is_first: bool, dialect: str) -> Update:
    taking = _taking(queue_search.first(window, dialect))
    if not is_first:
        return taking
    holds = exists().where(eligibility.is_live(bindparam("in_project"), bindparam("for_labeler")))
    return taking.where(~holds)


_TAKE = _taking(bindparam("of_comparison"))

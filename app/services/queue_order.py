"""Which open comparison a labeler gets next, as one statement, and taking one of its slots.

Priority first, then nearest to complete, then oldest. Comparisons of one priority with as many
judgments are a level. Someone who has judged most of a level would walk past all of that with each
claim; so only the oldest of each level are looked at before the next level, and all of them only
before the queue is called empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningUpdate

from app.models import Comparison, ComparisonCompletion, Purpose
from app.services import comparisons

WINDOW = 128  # of a level's oldest comparisons, looked at before the whole queue is

Taking = ReturningUpdate[Comparison, int]

# Written out: with a limit among the parameters PostgreSQL would plan every claim anew.
_ONE: ColumnElement[int] = literal_column("1")


@dataclass(frozen=True, slots=True)
class Taken:
    """A comparison of which a slot is being leased, and how many completions it has."""

    comparison: Comparison
    k: int


def find(
    session: Session, project_id: int, labeler_id: int, purposes: Sequence[Purpose]
) -> int | None:
    """Return the first open comparison of the purposes in turn for this labeler, locked."""
    statement = _finding(len(purposes), WINDOW)
    return session.scalar(statement, _scope(project_id, labeler_id, purposes))


def find_and_take(
    session: Session, project_id: int, labeler_id: int, purposes: Sequence[Purpose]
) -> Taken | None:
    """Find the next comparison and count one of its slots as no longer open."""
    statement = _finding_and_taking(len(purposes), WINDOW)
    taken = session.execute(statement, _scope(project_id, labeler_id, purposes)).first()
    return taken and Taken(*taken)


def take(session: Session, comparison_id: int) -> Taken | None:
    """Count one slot of a comparison that was found as no longer open."""
    taken = session.execute(_TAKE, {"of_comparison": comparison_id}).first()
    return taken and Taken(*taken)


def _scope(
    project_id: int, labeler_id: int, purposes: Sequence[Purpose]
) -> dict[str, int | Purpose]:
    named = {f"purpose_{at}": purpose for at, purpose in enumerate(purposes)}
    return {"in_project": project_id, "for_labeler": labeler_id} | named


def _open(of: type[Comparison], at: int) -> ColumnElement[bool]:
    return and_(
        of.project_id == bindparam("in_project"),
        of.purpose == bindparam(f"purpose_{at}"),
        of.is_open == true(),
    )


def _in_windows(at: int, size: int) -> ScalarSelect[int]:
    """The first that may be judged among the oldest of each level, levels in order."""
    rows, below, above, top = (aliased(Comparison) for _ in range(4))
    highest = (
        select(rows.id)
        .where(_open(rows, at))
        .order_by(rows.priority.desc(), rows.done_slots.desc())
        .limit(_ONE)
    )
    level = select(highest.scalar_subquery().label("first_id")).cte(f"level_{at}", recursive=True)
    next_level = (
        select(below.id)
        .where(
            _open(below, at),
            tuple_(below.priority, below.done_slots) < tuple_(above.priority, above.done_slots),
        )
        .order_by(below.priority.desc(), below.done_slots.desc())
        .limit(_ONE)
        .correlate(above)
    )
    level = level.union_all(
        select(next_level.scalar_subquery()).join_from(level, above, above.id == level.c.first_id)
    )
    found = (
        select(_first_in_window(at, size, top).scalar_subquery().label("id"))
        .join_from(level, top, top.id == level.c.first_id)
        .offset(literal_column("0"))  # keeps the lookup from being done twice a level
        .subquery()
    )
    return select(found.c.id).where(found.c.id.is_not(None)).limit(_ONE).scalar_subquery()


def _first_in_window(at: int, size: int, top: type[Comparison]) -> Select[int]:
    inside = aliased(Comparison)
    level = tuple_(inside.priority, inside.done_slots)
    of_top = tuple_(top.priority, top.done_slots)
    window = (
        select(inside.priority, inside.done_slots, inside.id)
        # Said as bounds and ordered by all three, so that only the queue's own index has the order:
        # PostgreSQL would walk the primary key past everything that is done.
        .where(_open(inside, at), level >= of_top, level <= of_top)
        .order_by(inside.priority, inside.done_slots, inside.id)
        .limit(literal_column(str(size)))
        .correlate(top)
        .subquery()
    )
    return (
        select(Comparison.id)
        .join_from(window, Comparison, Comparison.id == window.c.id)
        .where(Comparison.is_open == true(), comparisons.may_judge(bindparam("for_labeler")))
        .order_by(window.c.priority, window.c.done_slots, window.c.id)
        .limit(_ONE)
        .with_for_update(skip_locked=True, key_share=True, of=Comparison)
        .correlate(top)
    )


def _anywhere(at: int) -> ScalarSelect[int]:
    return (
        select(Comparison.id)
        .where(_open(Comparison, at), comparisons.may_judge(bindparam("for_labeler")))
        .order_by(Comparison.priority.desc(), Comparison.done_slots.desc(), Comparison.id)
        .limit(_ONE)
        .with_for_update(skip_locked=True, key_share=True)
        .correlate(None)
        .scalar_subquery()
    )


def _found(purposes: int, window: int) -> ColumnElement[int]:
    places = [place for at in range(purposes) for place in (_in_windows(at, window), _anywhere(at))]
    found: ColumnElement[int] = func.coalesce(*places)
    return found


def _taking(comparison_id: ColumnElement[int]) -> Taking:
    k = (
        select(func.count())
        .where(ComparisonCompletion.comparison_id == Comparison.id)
        .correlate(Comparison)
        .scalar_subquery()
    )
    return (
        update(Comparison)
        .where(Comparison.id == comparison_id, Comparison.is_open == true())
        .values(open_slots=Comparison.open_slots - 1, is_open=Comparison.open_slots > 1)
        .returning(Comparison, k)
        .execution_options(synchronize_session=False, populate_existing=True)
    )


@cache
def _finding(purposes: int, window: int) -> Select[int]:
    return select(_found(purposes, window))


@cache
def _finding_and_taking(purposes: int, window: int) -> Taking:
    return _taking(_found(purposes, window))


_TAKE = _taking(bindparam("of_comparison"))

"""Changing the overlap (K) while people work: slots are added or closed, and counts updated.

Judgments submitted or in progress stay, so a comparison may keep more than are asked for.
"""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from app.domain.assignment import OVERLAP_MOST
from app.domain.states import SlotState
from app.errors import Invalid
from app.models import Comparison, Purpose, Slot
from app.services.queue import comparisons

AT_ONCE = 500
ASKED_OF_EVERYBODY = (Purpose.TRAIN, Purpose.EVALUATION)


def change(
    session: Session,
    project_id: int,
    overlap: int,
    round_id: int | None = None,
    purposes: Sequence[Purpose] = ASKED_OF_EVERYBODY,
) -> int:
    """Ask for another number of judgments of each unfinished comparison; return how many changed.

    Raises:
        Invalid: the number is out of range.
    """
    if not 1 <= overlap <= OVERLAP_MOST:
        raise Invalid(f"overlap is 1 to {OVERLAP_MOST} judgments, not {overlap}")
    session.flush()
    unfinished = select(Comparison.id).where(
        Comparison.project_id == project_id,
        Comparison.purpose.in_(purposes),
        comparisons.is_unfinished(),
        Comparison.overlap != overlap,
    )
    if round_id is not None:
        unfinished = unfinished.where(Comparison.round_id == round_id)
    ids = session.scalars(unfinished.order_by(Comparison.id)).all()
    return sum(
        _change_some(session, ids[start : start + AT_ONCE], overlap)
        for start in range(0, len(ids), AT_ONCE)
    )


def _change_some(session: Session, ids: Sequence[int], overlap: int) -> int:
    rows = session.scalars(
        select(Comparison)
        .where(Comparison.id.in_(ids), comparisons.is_unfinished())
        .order_by(Comparison.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    wanted = {row.id: overlap - row.overlap for row in rows}
    added = _add(session, {id_: more for id_, more in wanted.items() if more > 0})
    closed = _close(session, {id_: -more for id_, more in wanted.items() if more < 0})
    changed = added | {id_: -fewer for id_, fewer in closed.items()}
    for row in rows:
        comparisons.count_slots(row, added=changed.get(row.id, 0))
    session.flush()
    return len(changed)


def _add(session: Session, missing: dict[int, int]) -> dict[int, int]:
    if not missing:
        return {}
    numbers = session.execute(
        select(Slot.comparison_id, func.max(Slot.n))
        .where(Slot.comparison_id.in_(missing))
        .group_by(Slot.comparison_id)
    ).all()
    session.execute(
        insert(Slot),
        [
            {"comparison_id": comparison_id, "n": last + 1 + at, "state": SlotState.OPEN}
            for comparison_id, last in numbers
            for at in range(missing[comparison_id])
        ],
    )
    return missing


def _close(session: Session, surplus: dict[int, int]) -> dict[int, int]:
    """Close up to a number of open slots of each comparison; return how many were closed."""
    open_slots: defaultdict[int, list[int]] = defaultdict(list)
    found = session.execute(
        select(Slot.comparison_id, Slot.id)
        .where(Slot.comparison_id.in_(surplus), Slot.state == SlotState.OPEN)
        .order_by(Slot.comparison_id, Slot.n.desc())
    )
    for comparison_id, slot_id in found:
        if len(open_slots[comparison_id]) < surplus[comparison_id]:
            open_slots[comparison_id].append(slot_id)
    closing = [slot_id for slots in open_slots.values() for slot_id in slots]
    session.execute(
        update(Slot)
        .where(Slot.id.in_(closing), Slot.state == SlotState.OPEN)
        .values(state=SlotState.CLOSED)
        .execution_options(synchronize_session=False)
    )
    return {comparison_id: len(slots) for comparison_id, slots in open_slots.items()}

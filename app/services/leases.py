"""The queue: slots leased to labelers, one at a time, and given back when time runs out.

Whatever a labeler does first locks their membership row, so one person's tabs queue up; then the
comparison's row, so slots and counts move together. Claims skip comparisons that are locked. The
two unique indexes of `assignment` are the guard, should any of this be wrong.
"""

import random
import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, func, select, true, update
from sqlalchemy.orm import Session

from app.db import now
from app.domain.assignment import AHEAD, Rates, lease_length, mix, repeated_order, shown_order
from app.domain.states import ASSIGNMENT_MOVES, AssignmentState, SlotState, move
from app.errors import Conflict
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Membership,
    Project,
    Purpose,
)
from app.services import comparisons, practice

WINDOW = 128  # of a level's oldest comparisons, looked at before the whole queue is
EXPIRED_AT_ONCE = 50
REPEAT_AFTER = 20  # judgments between a comparison and its repeat
REPEAT_REACH = 20

Draw = Callable[[], float]

# Statements of every claim, built once.
_ENTER = (
    select(Membership)
    .where(
        Membership.project_id == bindparam("project_id"),
        Membership.user_id == bindparam("labeler_id"),
    )
    .with_for_update(key_share=True)
    .execution_options(populate_existing=True)
)
_LIVE = (
    select(Assignment)
    .where(
        Assignment.labeler_id == bindparam("labeler_id"),
        Assignment.project_id == bindparam("project_id"),
        Assignment.state == AssignmentState.LEASED,
    )
    .order_by(Assignment.leased_at, Assignment.id)
)
_STALE = and_(
    Assignment.project_id == bindparam("project_id"),
    Assignment.state == AssignmentState.LEASED,
    Assignment.expires_at < bindparam("moment"),
)
_OVERDUE = (
    select(Assignment.comparison_id)
    .where(_STALE)
    .order_by(Assignment.expires_at)
    .limit(EXPIRED_AT_ONCE)
)
_OPEN = and_(
    Comparison.project_id == bindparam("project_id"),
    Comparison.purpose == bindparam("purpose"),
    Comparison.is_open == true(),
)
_FIRST_LEVEL = (
    select(Comparison.priority, Comparison.done_slots)
    .where(_OPEN)
    .order_by(Comparison.priority.desc(), Comparison.done_slots.desc())
    .limit(1)
)
_LEVEL_BELOW = _FIRST_LEVEL.where(
    Comparison.priority == bindparam("priority"), Comparison.done_slots < bindparam("done")
)
_PRIORITY_BELOW = _FIRST_LEVEL.where(Comparison.priority < bindparam("priority"))
_CLAIMABLE = (
    select(Comparison)
    .where(_OPEN, comparisons.may_judge(bindparam("labeler_id")))
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
    .execution_options(populate_existing=True)
)
_IN_WINDOW = _CLAIMABLE.where(
    Comparison.id.in_(
        select(Comparison.id)
        .where(
            _OPEN,
            Comparison.priority == bindparam("priority"),
            Comparison.done_slots == bindparam("done"),
        )
        .order_by(Comparison.id)
        .limit(bindparam("window"))
    )
).order_by(Comparison.id)
_ANYWHERE = _CLAIMABLE.order_by(
    Comparison.priority.desc(), Comparison.done_slots.desc(), Comparison.id
)
_MEMBERS = select(func.count()).where(
    ComparisonCompletion.comparison_id == bindparam("comparison_id")
)


def claim(
    session: Session,
    secret: bytes,
    project: Project,
    labeler_id: int,
    *,
    held: Collection[int] = (),
    draw: Draw = random.random,
) -> Assignment | None:
    """Lease the labeler's next slot; None when there is nothing for them now.

    A lease the labeler has already comes first (a reload shows the same), oldest first, but those
    in `held`, which the page has. At most two are leased ahead of the one on screen.
    """
    member = enter(session, project.id, labeler_id)
    moment = now(session)
    mine = live(session, project.id, labeler_id)
    for assignment in mine:
        if assignment.id not in held:
            assignment.expires_at = moment + lease_length(project.median_active_ms)
            return assignment
    if member.is_paused or project.is_paused or len(mine) > AHEAD:
        return None
    if practice.is_required(session, project, member):
        return None
    expire(session, project.id, moment)
    comparison = _choose(session, project, labeler_id, draw)
    if comparison is None:
        return None
    return _lease(session, secret, project, labeler_id, comparison, moment)


def enter(session: Session, project_id: int, labeler_id: int) -> Membership:
    """Return the labeler's membership, locked: one person's requests queue up.

    Raises:
        Conflict: they are not a member (an administrator may look without being one).
    """
    member = session.scalar(_ENTER, {"project_id": project_id, "labeler_id": labeler_id})
    if member is None:
        raise Conflict("you are not a member of this project; only members judge in it")
    return member


def live(session: Session, project_id: int, labeler_id: int) -> Sequence[Assignment]:
    """Return the labeler's leases, the longest held first."""
    return session.scalars(_LIVE, {"project_id": project_id, "labeler_id": labeler_id}).all()


def heartbeat(session: Session, project: Project, labeler_id: int) -> dict[int, datetime]:
    """Extend all of the labeler's leases; return when each now ends.

    What is missing from the answer has gone to someone else; it may still be submitted.
    """
    expires_at = now(session) + lease_length(project.median_active_ms)
    ids = session.scalars(
        update(Assignment)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.project_id == project.id,
            Assignment.state == AssignmentState.LEASED,
        )
        .values(expires_at=expires_at)
        .returning(Assignment.id)
        .execution_options(synchronize_session=False)
    ).all()
    return dict.fromkeys(ids, expires_at)


def release(session: Session, project_id: int, labeler_id: int) -> int:
    """Give back all leases of a labeler that hold no earlier answer; return how many."""
    enter(session, project_id, labeler_id)
    fresh = [held for held in live(session, project_id, labeler_id) if held.ended_at is None]
    for assignment in sorted(fresh, key=lambda held: held.comparison_id):
        end(session, assignment, AssignmentState.RELEASED)
    return len(fresh)


def end(session: Session, assignment: Assignment, state: AssignmentState) -> None:
    """End a lease without a judgment and free its slot."""
    comparison = comparisons.lock(session, assignment.comparison_id)
    session.refresh(assignment)
    what = f"assignment {assignment.id}"
    assignment.state = move(ASSIGNMENT_MOVES, what, assignment.state, state)
    comparisons.move_slot(session, comparison, assignment.slot_id, SlotState.LEASED, SlotState.OPEN)


def expire(session: Session, project_id: int, moment: datetime) -> int:
    """Free the slots of leases that ran out, skipping what others work on; return how many."""
    now_here = {"project_id": project_id, "moment": moment}
    overdue = session.scalars(_OVERDUE, now_here).all()
    if not overdue:
        return 0
    locked = session.scalars(
        select(Comparison)
        .where(Comparison.id.in_(overdue))
        .order_by(Comparison.id)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    by_id = {comparison.id: comparison for comparison in locked}
    ended = session.scalars(
        select(Assignment)
        .where(_STALE, Assignment.comparison_id.in_(by_id))
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True),
        now_here,
    ).all()
    for assignment in ended:
        assignment.state = AssignmentState.EXPIRED
        comparison = by_id[assignment.comparison_id]
        comparisons.move_slot(
            session, comparison, assignment.slot_id, SlotState.LEASED, SlotState.OPEN
        )
    session.flush()
    return len(ended)


def new_token() -> str:
    """Return a lease token nobody can guess."""
    return secrets.token_urlsafe(18)


def _choose(session: Session, project: Project, labeler_id: int, draw: Draw) -> Comparison | None:
    rates = Rates(project.gold_rate, project.repeat_rate, project.evaluation_rate)
    plan = mix(rates, draw(), draw())
    ordinary = None
    for purpose in plan.ordinary:
        ordinary = _find(session, project.id, labeler_id, Purpose(purpose))
        if ordinary is not None:
            break
    if ordinary is None or plan.instead is None:
        return ordinary
    if plan.instead == Purpose.REPEAT:
        return _repeat(session, project, labeler_id, draw) or ordinary
    return _find(session, project.id, labeler_id, Purpose.GOLD) or ordinary


def _find(
    session: Session, project_id: int, labeler_id: int, purpose: Purpose
) -> Comparison | None:
    """Return the first open comparison for this labeler, locked.

    Priority first, then nearest to complete, then oldest. Someone who has judged most of a level
    would walk past all of that again with each claim; so only the oldest of each level are looked
    at before the next level, and all of them only before the queue is called empty.
    """
    scope = {"project_id": project_id, "purpose": purpose, "labeler_id": labeler_id}
    level = session.execute(_FIRST_LEVEL, scope).first()
    is_empty = level is None
    while level is not None:
        at = {"priority": level.priority, "done": level.done_slots}
        found = session.scalar(_IN_WINDOW, scope | at | {"window": WINDOW})
        if found is not None:
            return found
        level = (
            session.execute(_LEVEL_BELOW, scope | at).first()
            or session.execute(_PRIORITY_BELOW, scope | at).first()
        )
    return None if is_empty else session.scalar(_ANYWHERE, scope)


def _repeat(session: Session, project: Project, labeler_id: int, draw: Draw) -> Comparison | None:
    """Make a repeat of something this labeler judged a while ago."""
    earlier = session.execute(
        select(Comparison.id, Comparison.prompt_id, Comparison.kind)
        .join(Assignment, Assignment.comparison_id == Comparison.id)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.project_id == project.id,
            Assignment.state == AssignmentState.SUBMITTED,
            Comparison.purpose == Purpose.TRAIN,
        )
        .order_by(Assignment.id.desc())
        .offset(REPEAT_AFTER)
        .limit(REPEAT_REACH)
    ).all()
    if not earlier:
        return None
    origin_id, prompt_id, kind = earlier[int(draw() * len(earlier))]
    members = session.scalars(
        select(ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id == origin_id)
        .order_by(ComparisonCompletion.position)
    ).all()
    repeat = comparisons.create(
        session,
        project,
        prompt_id,
        members,
        natural_key=f"repeat:{origin_id}:{labeler_id}",
        seed=0,
        purpose=Purpose.REPEAT,
        kind=kind,
        overlap=1,
        origin_id=origin_id,
        only_labeler_id=labeler_id,
    )
    return repeat if repeat.is_open else None


def _lease(
    session: Session,
    secret: bytes,
    project: Project,
    labeler_id: int,
    comparison: Comparison,
    moment: datetime,
) -> Assignment:
    slot_id = comparisons.take_slot(session, comparison, SlotState.LEASED)
    if slot_id is None:
        raise Conflict(f"comparison {comparison.id} has no open slot after all")
    assignment = Assignment(
        project_id=project.id,
        comparison_id=comparison.id,
        slot_id=slot_id,
        labeler_id=labeler_id,
        lease_token=new_token(),
        state=AssignmentState.LEASED,
        shown_order=list(_order(session, secret, labeler_id, comparison)),
        leased_at=moment,
        expires_at=moment + lease_length(project.median_active_ms),
    )
    session.add(assignment)
    session.flush()
    return assignment


def _order(
    session: Session, secret: bytes, labeler_id: int, comparison: Comparison
) -> tuple[int, ...]:
    k = session.scalar(_MEMBERS, {"comparison_id": comparison.id}) or 0
    if comparison.origin_id is not None:
        return repeated_order(secret, labeler_id, comparison.origin_id, k)
    return shown_order(secret, labeler_id, comparison.id, k)

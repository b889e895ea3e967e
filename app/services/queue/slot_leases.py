"""Leases of slots: slots are leased to labelers one at a time, and freed when the lease expires.

Every action of a labeler locks their membership row first, so that one person's tabs wait for each
other; then the comparison's row, so that slots and counts change together. Claims skip locked
comparisons. Two unique indexes of `assignment` guarantee the result in any case.
"""

import random
import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, exists, select, update
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
from app.services.queue import comparisons, eligibility, practice_standing, queue_order
from app.services.queue.queue_order import TakenComparison

EXPIRED_AT_ONCE = 50
NO_MEMBER = "you are not a member of this project; only members can judge in it"
REPEAT_AFTER = 20  # judgments between a comparison and its repeat
REPEAT_REACH = 20

Draw = Callable[[], float]


class Entered(NamedTuple):
    """A labeler's membership, locked, and what the same statement read beside it.

    If that statement waited for the lock, what it read beside it is from before the wait.
    """

    member: Membership
    is_overdue: bool
    has_leases: bool


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
    .where(eligibility.is_live(bindparam("project_id"), bindparam("labeler_id")))
    .order_by(Assignment.leased_at, Assignment.id)
)


def is_stale(project_id: Any, moment: Any) -> ColumnElement[bool]:
    """Return the condition for leases that have expired."""
    return and_(
        Assignment.project_id == project_id,
        eligibility.IS_LEASED,
        Assignment.expires_at < moment,
    )


_STALE = is_stale(bindparam("project_id"), bindparam("moment"))
_OVERDUE = (
    select(Assignment.comparison_id)
    .where(_STALE)
    .order_by(Assignment.expires_at)
    .limit(EXPIRED_AT_ONCE)
)
# Read without a round trip of its own; `expire` checks again.
_ENTER_TO_CLAIM = _ENTER.add_columns(exists().where(_STALE))


def claim(
    session: Session,
    secret: bytes,
    project: Project,
    labeler_id: int,
    *,
    held: Collection[int] = (),
    ahead: int = AHEAD,
    draw: Draw = random.random,
) -> Assignment | None:
    """Lease the labeler's next slot; return None if there is nothing for them now.

    The labeler's own leases come first, oldest first, so that a reload shows the same; those in
    `held`, which the page has, are left out. At most `ahead` are leased beside the one on screen.
    """
    moment = now(session)
    entered = _enter_to_claim(session, project.id, labeler_id, moment)
    mine = live(session, project.id, labeler_id) if entered.has_leases else ()
    again = _shown_again(project, mine, held, moment)
    if again is not None:
        return again
    if entered.member.is_paused or project.is_paused or len(mine) > ahead:
        return None
    if practice_standing.is_required(session, project, entered.member):
        return None
    if entered.is_overdue:
        expire(session, project.id, moment)
    taken = _choose(session, project, labeler_id, draw, is_first=not entered.has_leases)
    if taken is not None:
        return lease(session, secret, project, labeler_id, taken, moment)
    if entered.has_leases:
        return None
    # Another tab may have claimed between that look and the lock.
    return _shown_again(project, live(session, project.id, labeler_id), held, moment)


def enter(session: Session, project_id: int, labeler_id: int) -> Membership:
    """Return the labeler's membership, locked: one person's requests queue up.

    Raises:
        Conflict: they are not a member (an administrator may look without being one).
    """
    entered = _entered(session, project_id, labeler_id)
    if entered is not None:
        return entered.member
    member = session.scalar(_ENTER, {"project_id": project_id, "labeler_id": labeler_id})
    if member is None:
        raise Conflict(NO_MEMBER)
    return member


def note_entered(
    session: Session, member: Membership, *, is_overdue: bool, has_leases: bool
) -> None:
    """Remember that this transaction has locked the membership, and what it saw beside it."""
    session.info["entered"] = Entered(member, is_overdue, has_leases)


def live(session: Session, project_id: int, labeler_id: int) -> Sequence[Assignment]:
    """Return the labeler's leases, oldest first."""
    return session.scalars(_LIVE, {"project_id": project_id, "labeler_id": labeler_id}).all()


def heartbeat(session: Session, project: Project, labeler_id: int) -> dict[int, datetime]:
    """Extend all of the labeler's leases; return when each one expires.

    A lease missing from the result has gone to another labeler; its judgment is still accepted.
    """
    expires_at = now(session) + lease_length(project.median_active_ms)
    ids = session.scalars(
        update(Assignment)
        .where(eligibility.is_live(project.id, labeler_id))
        .values(expires_at=expires_at)
        .returning(Assignment.id)
        .execution_options(synchronize_session=False)
    ).all()
    return dict.fromkeys(ids, expires_at)


def release(
    session: Session, project_id: int, labeler_id: int, only: Collection[int] | None = None
) -> int:
    """End leases of a labeler but those of reopened judgments; return how many.

    Args:
        session: the session.
        project_id: the project.
        labeler_id: whose leases.
        only: the assignments to give back; None for all.
    """
    enter(session, project_id, labeler_id)
    leases = live(session, project_id, labeler_id)
    fresh = [
        assignment
        for assignment in leases
        if assignment.ended_at is None and (only is None or assignment.id in only)
    ]
    for assignment in sorted(fresh, key=lambda assignment: assignment.comparison_id):
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
    """Free the slots of expired leases, skipping locked comparisons; return how many."""
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
    """Return a lease token that cannot be guessed."""
    return secrets.token_urlsafe(18)


def _entered(session: Session, project_id: int, labeler_id: int) -> Entered | None:
    entered: Entered | None = session.info.get("entered")
    if entered is None:
        return None
    member = entered.member
    return entered if (member.project_id, member.user_id) == (project_id, labeler_id) else None


def _enter_to_claim(
    session: Session, project_id: int, labeler_id: int, moment: datetime
) -> Entered:
    # What was read with the lock is valid for one claim; a second claim reads again.
    entered = _entered(session, project_id, labeler_id)
    if entered is not None:
        session.info["entered"] = Entered(entered.member, is_overdue=False, has_leases=True)
        return entered
    values = {"project_id": project_id, "labeler_id": labeler_id, "moment": moment}
    row = session.execute(_ENTER_TO_CLAIM, values).first()
    if row is None:
        raise Conflict(NO_MEMBER)
    return Entered(row[0], row[1], has_leases=True)


def _shown_again(
    project: Project, leases: Sequence[Assignment], held: Collection[int], moment: datetime
) -> Assignment | None:
    """Return the oldest lease that the page does not hold, extended; None if it holds all."""
    for assignment in leases:
        if assignment.id not in held:
            assignment.expires_at = moment + lease_length(project.median_active_ms)
            return assignment
    return None


def _choose(
    session: Session, project: Project, labeler_id: int, draw: Draw, *, is_first: bool
) -> TakenComparison | None:
    """Take a slot; with `is_first`, none if the labeler turns out to hold a lease already."""
    rates = Rates(project.gold_rate, project.repeat_rate, project.evaluation_rate)
    plan = mix(rates, draw(), draw())
    ordinary = [Purpose(purpose) for purpose in plan.ordinary]
    if plan.instead is None:
        return queue_order.find_and_take(
            session, project.id, labeler_id, ordinary, is_first=is_first
        )
    if is_first and live(session, project.id, labeler_id):
        return None
    next_id = queue_order.find(session, project.id, labeler_id, ordinary)
    if next_id is None:
        return None
    if plan.instead == Purpose.REPEAT:
        instead = _repeat(session, project, labeler_id, draw)
    else:
        instead = queue_order.find(session, project.id, labeler_id, [Purpose.GOLD])
    return queue_order.take(session, instead or next_id)


def _repeat(session: Session, project: Project, labeler_id: int, draw: Draw) -> int | None:
    """Create a repeat of a comparison that this labeler judged some time ago."""
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
    return repeat.id if repeat.is_open else None


def lease(
    session: Session,
    secret: bytes,
    project: Project,
    labeler_id: int,
    taken: TakenComparison,
    moment: datetime,
) -> Assignment:
    """Lease the slot of a comparison that was taken from the queue."""
    slot_id = comparisons.take_counted_slot(session, taken.comparison_id)
    assignment = Assignment(
        project_id=project.id,
        comparison_id=taken.comparison_id,
        slot_id=slot_id,
        labeler_id=labeler_id,
        lease_token=new_token(),
        state=AssignmentState.LEASED,
        shown_order=list(_order(secret, labeler_id, taken)),
        leased_at=moment,
        expires_at=moment + lease_length(project.median_active_ms),
    )
    session.add(assignment)
    session.flush()
    return assignment


def _order(secret: bytes, labeler_id: int, taken: TakenComparison) -> tuple[int, ...]:
    if taken.origin_id is not None:
        return repeated_order(secret, labeler_id, taken.origin_id, taken.k)
    return shown_order(secret, labeler_id, taken.comparison_id, taken.k)

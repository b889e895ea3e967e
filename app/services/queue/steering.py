"""Steering a running queue: a lead's changes to leases, pauses and priorities, all audited.

Submitted judgments always stay, and so does work in progress, unless the lead takes it from a
labeler explicitly. Withdrawals and overlap changes can end a round's labeling; they are in
`rounds.judging_flow`.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.states import AssignmentState
from app.errors import Conflict, Invalid, NotFound
from app.models import Assignment, Comparison, Membership, Project, User
from app.services.people import accounts, audit
from app.services.queue import comparisons, eligibility, queue_order, slot_leases

PRIORITY_MOST = 1000
RESERVED = timedelta(hours=24)


def pause(
    session: Session, project_id: int, user_id: int, *, is_paused: bool, actor_id: int
) -> Membership:
    """Pause a labeler, who then gets no new comparisons, or resume."""
    member = _member(session, project_id, user_id)
    if member.is_paused != is_paused:
        member.is_paused = is_paused
        action = "member.pause" if is_paused else "member.resume"
        _record(session, action, f"user {user_id}", project_id, actor_id)
    return member


def release(session: Session, project_id: int, user_id: int, *, actor_id: int) -> int:
    """Return a labeler's leases to the queue; return how many.

    Judgments that they submit for these later are kept as surplus.
    """
    _member(session, project_id, user_id)
    released = slot_leases.release(session, project_id, user_id)
    if released:
        details = {"released": released}
        _record(session, "member.release", f"user {user_id}", project_id, actor_id, details)
    return released


def reassign(
    session: Session,
    secret: bytes,
    project: Project,
    comparison_id: int,
    *,
    to_user_id: int,
    from_user_id: int | None = None,
    actor_id: int,
) -> Assignment:
    """Reserve a judgment of a comparison for a labeler, taking it from another one if named.

    It is reserved for a day, and comes first on their page.

    Raises:
        Conflict: the other labeler has no lease of it, no slot is free, or the labeler may not
            judge it.
    """
    for user_id in sorted({to_user_id, from_user_id or to_user_id}):  # in one order: no deadlock
        slot_leases.enter(session, project.id, _member(session, project.id, user_id).user_id)
    comparison = locked(session, project.id, comparison_id)
    if from_user_id is not None:
        _take_from(session, project.id, comparison_id, from_user_id)
    if not _may_take(session, comparison_id, to_user_id):
        raise Conflict(
            f"{_name(session, to_user_id)} cannot take comparison {comparison_id}: they hold it, "
            "have judged or skipped it, or wrote a response to it"
        )
    taken = queue_order.take(session, comparison.id)
    if taken is None:
        raise Conflict(f"comparison {comparison_id} has no open slot to hand out")
    assignment = slot_leases.lease(session, secret, project, to_user_id, taken, now(session))
    assignment.expires_at = now(session) + RESERVED
    details = {"to": to_user_id, "from": from_user_id}
    what = f"comparison {comparison_id}"
    _record(session, "comparison.reassign", what, project.id, actor_id, details)
    return assignment


def set_priority(
    session: Session, project_id: int, comparison_id: int, priority: int, *, actor_id: int
) -> Comparison:
    """Set a comparison's priority: higher comes first; the default is 0."""
    if abs(priority) > PRIORITY_MOST:
        raise Invalid(f"a priority is -{PRIORITY_MOST} to {PRIORITY_MOST}, not {priority}")
    comparison = locked(session, project_id, comparison_id)
    if comparison.priority != priority:
        details = {"priority": [comparison.priority, priority]}
        comparison.priority = priority
        what = f"comparison {comparison_id}"
        _record(session, "comparison.priority", what, project_id, actor_id, details)
    return comparison


def restore(session: Session, project_id: int, comparison_id: int, *, actor_id: int) -> Comparison:
    """Restore a withdrawn comparison: its judgments count again, and its slots reopen."""
    comparison = locked(session, project_id, comparison_id)
    again = comparisons.asked_again(session, comparison)
    if again is not None:
        raise Conflict(
            f"comparison {comparison_id} was asked again as comparison {again}; withdraw that one "
            "first"
        )
    if comparison.is_withdrawn:
        comparisons.restore(session, comparison_id)
        what = f"comparison {comparison_id}"
        _record(session, "comparison.restore", what, project_id, actor_id)
    return comparison


def holders(session: Session, comparison_id: int) -> list[tuple[Assignment, Membership]]:
    """Return the leases of a comparison and the members who hold them."""
    rows = session.execute(
        select(Assignment, Membership)
        .join(
            Membership,
            (Membership.user_id == Assignment.labeler_id)
            & (Membership.project_id == Assignment.project_id),
        )
        .where(
            Assignment.comparison_id == comparison_id,
            Assignment.state == AssignmentState.LEASED,
        )
        .order_by(Assignment.leased_at)
    )
    return [(assignment, member) for assignment, member in rows]


def held_by_member(session: Session, project_id: int) -> dict[int, int]:
    """Count the leases that each member holds."""
    rows = session.execute(
        select(Assignment.labeler_id, func.count())
        .where(Assignment.project_id == project_id, Assignment.state == AssignmentState.LEASED)
        .group_by(Assignment.labeler_id)
    )
    return {user_id: int(number) for user_id, number in rows}


def _take_from(session: Session, project_id: int, comparison_id: int, user_id: int) -> None:
    leases = slot_leases.live(session, project_id, user_id)
    held = [lease for lease in leases if lease.comparison_id == comparison_id]
    if not held:
        raise Conflict(f"{_name(session, user_id)} does not hold comparison {comparison_id}")
    slot_leases.end(session, held[0], AssignmentState.RELEASED)


def _may_take(session: Session, comparison_id: int, user_id: int) -> bool:
    query = select(Comparison.id).where(
        Comparison.id == comparison_id, eligibility.may_judge(user_id)
    )
    return session.scalar(query) is not None


def locked(session: Session, project_id: int, comparison_id: int) -> Comparison:
    """Return a comparison of the project, locked.

    Raises:
        NotFound: there is none.
    """
    comparison = comparisons.lock(session, comparison_id)
    if comparison.project_id != project_id:
        raise NotFound(f"there is no comparison {comparison_id} in this project")
    return comparison


def _member(session: Session, project_id: int, user_id: int) -> Membership:
    member = accounts.membership(session, project_id, user_id)
    if member is None:
        raise NotFound(f"user {user_id} is not in this project")
    return member


def _name(session: Session, user_id: int) -> str:
    return session.get_one(User, user_id).name


def _record(
    session: Session,
    action: str,
    subject: str,
    project_id: int,
    actor_id: int,
    details: Mapping[str, Any] | None = None,
) -> None:
    audit.record(
        session, action, subject, actor_id=actor_id, project_id=project_id, details=details
    )

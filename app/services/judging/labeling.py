"""Record judgments. Human work is never thrown away.

A judgment is append-only: a change, a retraction and an undo are further revisions, of which one
is current. Every action carries a key made by the client, so that a lost response can be requested
again. Leases are in `queue.slot_leases`, skips in `skips`, undo and retraction in `corrections`.
What a last judgment means for its round is added by `rounds.judging_flow`, which the web calls.
"""

from collections.abc import Sequence
from datetime import timedelta
from statistics import median

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.states import ASSIGNMENT_MOVES, AssignmentState, SlotState, move
from app.errors import Conflict, LeaseLost
from app.models import Assignment, Comparison, Judgment, Project
from app.services.judging import revisions, submissions
from app.services.judging.submissions import Outcome, Submission
from app.services.queue import comparisons
from app.services.queue.slot_leases import enter

MEDIAN_EVERY = 20  # judgments between two looks at the median time
MEDIAN_OF = 200
MEDIAN_MOVES = 0.1
ACTIVE_LONGEST = timedelta(hours=24)


def submit(session: Session, project: Project, labeler_id: int, given: Submission) -> Outcome:
    """Record a judgment and end its lease.

    The same key and body again give the same answer. A submission that comes after the lease ran
    out counts if a slot is free, and is kept as surplus if none is.

    Raises:
        ReplayMismatch: the key came before with another body.
        LeaseLost: the token is not this assignment's.
        Conflict: this assignment was judged or skipped already.
        Invalid: the answer breaks a rule.
    """
    submissions.check_key(given.key)
    enter(session, project.id, labeler_id)
    found = submissions.locked_unless_replayed(session, project.id, labeler_id, given)
    if isinstance(found, Outcome):
        return found
    assignment, comparison, version = found
    if assignment.lease_token != given.lease_token:
        raise LeaseLost(f"assignment {assignment.id} was leased again since; reload the page")
    assignment = _successor(session, assignment)
    columns = submissions.columns(session, project, assignment, comparison, given)
    state = _settle(session, assignment, comparison)
    moment = now(session)
    active = min(timedelta(milliseconds=max(given.active_ms, 0)), ACTIVE_LONGEST)
    judgment = revisions.append(
        session,
        assignment,
        comparison,
        given.key,
        moment,
        body_hash=submissions.digest(given),
        is_surplus=state is AssignmentState.SURPLUS,
        started_at=max(moment - active, assignment.leased_at),
        active_ms=int(active.total_seconds() * 1000),
        guidelines_version=version,
        **columns,
    )
    assignment.state = state
    assignment.ended_at = moment
    session.flush()
    _keep_median(session, project, judgment)
    return submissions.outcome(session, judgment)


def _successor(session: Session, assignment: Assignment) -> Assignment:
    """Return the assignment that speaks for this one.

    Someone whose lease ran out may have been given the same comparison again in another tab; the
    late submission then belongs to the later lease.
    """
    if assignment.state not in {AssignmentState.EXPIRED, AssignmentState.RELEASED}:
        return assignment
    later = session.scalar(
        select(Assignment).where(
            Assignment.labeler_id == assignment.labeler_id,
            Assignment.comparison_id == assignment.comparison_id,
            Assignment.state.not_in([AssignmentState.EXPIRED, AssignmentState.RELEASED]),
        )
    )
    return later or assignment


def _settle(session: Session, assignment: Assignment, comparison: Comparison) -> AssignmentState:
    """Move the slot for a submission and return the assignment's new state."""
    what = f"assignment {assignment.id}"
    old = AssignmentState(assignment.state)
    if old is AssignmentState.LEASED:
        comparisons.move_slot(
            session, comparison, assignment.slot_id, SlotState.LEASED, SlotState.DONE
        )
        return move(ASSIGNMENT_MOVES, what, old, AssignmentState.SUBMITTED)
    if old is AssignmentState.EXPIRED and not comparison.is_withdrawn:
        # Two moves in one: the slot is leased to the labeler who comes late, and done.
        free = comparisons.take_slot(session, comparison, SlotState.DONE)
        if free is not None:
            assignment.slot_id = free
            return AssignmentState.SUBMITTED
    if old in {AssignmentState.SUBMITTED, AssignmentState.SKIPPED, AssignmentState.SURPLUS}:
        raise Conflict(f"you have {_PAST[old]} this comparison already; see your history")
    return move(ASSIGNMENT_MOVES, what, old, AssignmentState.SURPLUS)


_PAST = {
    AssignmentState.SUBMITTED: "judged",
    AssignmentState.SURPLUS: "judged",
    AssignmentState.SKIPPED: "skipped",
}


def _keep_median(session: Session, project: Project, judgment: Judgment) -> None:
    if project.median_active_ms is not None and judgment.id % MEDIAN_EVERY:
        return
    recent: Sequence[int] = session.scalars(
        select(Judgment.active_ms)
        .where(
            Judgment.project_id == project.id,
            Judgment.id > judgment.id - 10 * MEDIAN_OF,  # other projects' rows lie between
            Judgment.active_ms > 0,
        )
        .order_by(Judgment.id.desc())
        .limit(MEDIAN_OF)
    ).all()
    if not recent:
        return
    present, known = int(median(recent)), project.median_active_ms or 0
    if abs(present - known) > MEDIAN_MOVES * known:  # each change makes submissions wait in line
        project.median_active_ms = present

"""Second thoughts: a judgment opened again, replaced by a new revision, or taken back."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.assignment import UNDO_DEPTH, lease_length
from app.domain.states import ASSIGNMENT_MOVES, AssignmentState, SlotState, move
from app.errors import Conflict
from app.models import Assignment, Project
from app.services.judging import revisions, submissions
from app.services.judging.submissions import Outcome, Submission
from app.services.queue import comparisons, counted_judgments
from app.services.queue.slot_leases import enter, live, new_token


def undo(session: Session, project: Project, labeler_id: int, key: str) -> Assignment | None:
    """Open the labeler's last judgment or skip again, as a lease; None when there is none.

    The judgment is retracted until it is submitted again. At most ten are open this way at once.

    Raises:
        Conflict: ten are open already.
    """
    submissions.check_key(key)
    enter(session, project.id, labeler_id)
    mine = live(session, project.id, labeler_id)
    for assignment in mine:
        if assignment.submission_key == key:
            return assignment
    if sum(assignment.ended_at is not None for assignment in mine) >= UNDO_DEPTH:
        raise Conflict(f"undo goes {UNDO_DEPTH} deep; submit some of these first")
    last = session.scalar(
        select(Assignment)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.project_id == project.id,
            Assignment.state.in_([AssignmentState.SUBMITTED, AssignmentState.SKIPPED]),
        )
        .order_by(Assignment.ended_at.desc(), Assignment.id.desc())
        .limit(1)
    )
    return last and _reopen(session, project, last, key)


def revise(
    session: Session, project: Project, labeler_id: int, judgment_id: int, given: Submission
) -> Outcome:
    """Replace a current judgment by a new revision; the earlier one stays on record.

    Raises:
        Conflict: it was changed or retracted meanwhile.
    """
    submissions.check_key(given.key)
    enter(session, project.id, labeler_id)
    replayed = revisions.by_key(session, labeler_id, given.key)
    if replayed is not None:
        return submissions.same_again(session, replayed, given)
    old = revisions.own(session, project.id, labeler_id, judgment_id)
    assignment, comparison = submissions.locked(session, project.id, labeler_id, old.assignment_id)
    session.refresh(old)
    if not counted_judgments.is_standing(old):
        raise Conflict(f"judgment {judgment_id} was changed or retracted meanwhile")
    judgment = revisions.append(
        session,
        assignment,
        comparison,
        given.key,
        now(session),
        body_hash=submissions.digest(given),
        is_surplus=old.is_surplus,
        started_at=old.started_at,
        active_ms=old.active_ms + max(given.active_ms, 0),
        **submissions.columns(session, project, assignment, comparison, given),
    )
    return submissions.outcome(session, judgment)


def retract(
    session: Session, project: Project, labeler_id: int, judgment_id: int, key: str
) -> Outcome:
    """Take a judgment back for good; its slot goes to someone else."""
    submissions.check_key(key)
    enter(session, project.id, labeler_id)
    replayed = revisions.by_key(session, labeler_id, key)
    if replayed is not None:
        return submissions.outcome(session, replayed)
    old = revisions.own(session, project.id, labeler_id, judgment_id)
    assignment, comparison = submissions.locked(session, project.id, labeler_id, old.assignment_id)
    session.refresh(old)
    if not counted_judgments.is_standing(old):
        raise Conflict(f"judgment {judgment_id} was changed or retracted meanwhile")
    retraction = revisions.retract(session, assignment, comparison, key)
    if assignment.state == AssignmentState.SUBMITTED:
        comparisons.move_slot(
            session, comparison, assignment.slot_id, SlotState.DONE, SlotState.OPEN
        )
    what = f"assignment {assignment.id}"
    assignment.state = move(
        ASSIGNMENT_MOVES, what, AssignmentState(assignment.state), AssignmentState.RELEASED
    )
    session.flush()
    return submissions.outcome(session, retraction)


def _reopen(session: Session, project: Project, assignment: Assignment, key: str) -> Assignment:
    comparison = comparisons.lock(session, assignment.comparison_id)
    session.refresh(assignment)
    if assignment.state == AssignmentState.SUBMITTED:
        revisions.retract(session, assignment, comparison, key)
        comparisons.move_slot(
            session, comparison, assignment.slot_id, SlotState.DONE, SlotState.LEASED
        )
    else:
        slot_id = comparisons.take_slot(session, comparison, SlotState.LEASED)
        if slot_id is None:
            raise Conflict("what you skipped has gone to other labelers; it cannot be undone")
        assignment.slot_id = slot_id
    assignment.state = AssignmentState.LEASED
    assignment.lease_token = new_token()
    assignment.expires_at = now(session) + lease_length(project.median_active_ms)
    assignment.submission_key = key  # asked again with the same key, undo gives the same answer
    session.flush()
    return assignment

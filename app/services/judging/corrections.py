"""Corrections by the labeler: a judgment is reopened, replaced by a new revision or retracted."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.assignment import UNDO_DEPTH, lease_length
from app.domain.states import ASSIGNMENT_MOVES, AssignmentState, SlotState, move
from app.errors import Conflict
from app.models import Assignment, Project
from app.services.judging import revisions, submissions
from app.services.judging.submissions import Outcome, Submission
from app.services.project import instructions
from app.services.queue import comparisons, counted_judgments
from app.services.queue.slot_leases import enter, live, new_token


def undo(session: Session, project: Project, labeler_id: int, key: str) -> Assignment | None:
    """Reopen the labeler's last judgment or skip as a lease; return None if there is none.

    The judgment is retracted until it is submitted again. At most ten can be open at once.

    Raises:
        Conflict: ten are open already.
    """
    submissions.check_key(key)
    enter(session, project.id, labeler_id)
    leases = live(session, project.id, labeler_id)
    for assignment in leases:
        if assignment.submission_key == key:
            return assignment
    if sum(assignment.ended_at is not None for assignment in leases) >= UNDO_DEPTH:
        raise Conflict(f"at most {UNDO_DEPTH} judgments can be undone; submit some of them first")
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
    session: Session, project: Project, labeler_id: int, judgment_id: int, submission: Submission
) -> Outcome:
    """Replace a current judgment by a new revision; the previous one stays on record.

    Raises:
        Conflict: it was changed or retracted in the meantime.
    """
    submissions.check_key(submission.key)
    enter(session, project.id, labeler_id)
    recorded = revisions.by_key(session, labeler_id, submission.key)
    if recorded is not None:
        return submissions.replayed(session, recorded, submission)
    old = revisions.own(session, project.id, labeler_id, judgment_id)
    assignment, comparison = submissions.locked(session, project.id, labeler_id, old.assignment_id)
    session.refresh(old)
    if not counted_judgments.is_standing(old):
        raise Conflict(f"judgment {judgment_id} was changed or retracted in the meantime")
    judgment = revisions.append(
        session,
        assignment,
        comparison,
        submission.key,
        now(session),
        body_hash=submissions.digest(submission),
        is_surplus=old.is_surplus,
        started_at=old.started_at,
        active_ms=old.active_ms + submissions.active_ms(submission),
        instruction_version=instructions.check_version(project, submission.instruction_version),
        **submissions.columns(session, project, assignment, comparison, submission),
    )
    return submissions.outcome(session, judgment)


def retract(
    session: Session, project: Project, labeler_id: int, judgment_id: int, key: str
) -> Outcome:
    """Retract a judgment permanently; its slot becomes free for another labeler."""
    submissions.check_key(key)
    enter(session, project.id, labeler_id)
    recorded = revisions.by_key(session, labeler_id, key)
    if recorded is not None:
        return submissions.outcome(session, recorded)
    old = revisions.own(session, project.id, labeler_id, judgment_id)
    assignment, comparison = submissions.locked(session, project.id, labeler_id, old.assignment_id)
    session.refresh(old)
    if not counted_judgments.is_standing(old):
        raise Conflict(f"judgment {judgment_id} was changed or retracted in the meantime")
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
            raise Conflict("this skip cannot be undone: the comparison has gone to other labelers")
        assignment.slot_id = slot_id
    assignment.state = AssignmentState.LEASED
    assignment.lease_token = new_token()
    assignment.expires_at = now(session) + lease_length(project.median_active_ms)
    assignment.submission_key = key  # repeating the undo returns the same assignment
    session.flush()
    return assignment

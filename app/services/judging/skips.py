"""Skips: a lease ends without a judgment but with a reason; the slot returns to the queue."""

from sqlalchemy.orm import Session

from app.db import now
from app.domain.remarks import check_remarks, check_skip
from app.domain.states import ASSIGNMENT_MOVES, AssignmentState, SlotState, move
from app.errors import LeaseLost
from app.models import Project
from app.services.judging import submissions
from app.services.judging.submissions import Skip
from app.services.queue import comparisons
from app.services.queue.slot_leases import enter


def skip(session: Session, project: Project, labeler_id: int, request: Skip) -> None:
    """End a lease without a judgment and record the reason; the slot becomes free.

    Raises:
        LeaseLost: the token is not this assignment's.
        Invalid: the key, the reason or the comment breaks a rule.
    """
    submissions.check_key(request.key)
    check_skip(request.reason)
    check_remarks((), request.comment)
    enter(session, project.id, labeler_id)
    assignment, comparison = submissions.locked(
        session, project.id, labeler_id, request.assignment_id
    )
    if assignment.state == AssignmentState.SKIPPED and assignment.submission_key == request.key:
        return
    if assignment.lease_token != request.lease_token:
        raise LeaseLost(f"assignment {assignment.id} was leased again since; reload the page")
    if assignment.state in {AssignmentState.EXPIRED, AssignmentState.RELEASED}:
        return  # the slot is free already, which is all that a skip does
    what = f"assignment {assignment.id}"
    assignment.state = move(
        ASSIGNMENT_MOVES, what, AssignmentState(assignment.state), AssignmentState.SKIPPED
    )
    assignment.ended_at = now(session)
    assignment.skip_reason = request.reason
    assignment.skip_comment = request.comment
    assignment.submission_key = request.key
    comparisons.move_slot(session, comparison, assignment.slot_id, SlotState.LEASED, SlotState.OPEN)
    session.flush()

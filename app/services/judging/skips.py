"""Skips: a lease that ends without a judgment, with the reason; the slot returns to the queue."""

from sqlalchemy.orm import Session

from app.db import now
from app.domain import answers
from app.domain.states import ASSIGNMENT_MOVES, AssignmentState, SlotState, move
from app.errors import LeaseLost
from app.models import Project
from app.services.judging import submissions
from app.services.judging.submissions import Skip
from app.services.queue import comparisons
from app.services.queue.slot_leases import enter


def skip(session: Session, project: Project, labeler_id: int, given: Skip) -> None:
    """End a lease without a judgment, with the reason; the slot goes to someone else."""
    submissions.check_key(given.key)
    answers.check_skip(given.reason)
    answers.check_remarks((), given.comment)
    enter(session, project.id, labeler_id)
    assignment, comparison = submissions.locked(
        session, project.id, labeler_id, given.assignment_id
    )
    if assignment.state == AssignmentState.SKIPPED and assignment.submission_key == given.key:
        return
    if assignment.lease_token != given.lease_token:
        raise LeaseLost(f"assignment {assignment.id} was leased again since; reload the page")
    if assignment.state in {AssignmentState.EXPIRED, AssignmentState.RELEASED}:
        return  # the slot is back in the queue already, as a skip would have it
    what = f"assignment {assignment.id}"
    assignment.state = move(
        ASSIGNMENT_MOVES, what, AssignmentState(assignment.state), AssignmentState.SKIPPED
    )
    assignment.ended_at = now(session)
    assignment.skip_reason = given.reason
    assignment.skip_comment = given.comment
    assignment.submission_key = given.key
    comparisons.move_slot(session, comparison, assignment.slot_id, SlotState.LEASED, SlotState.OPEN)
    session.flush()

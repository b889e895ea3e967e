"""What labelers do: judge, skip, take back, change. Human work is never thrown away.

A judgment is append-only: a change, a retraction and an undo are further revisions, of which one
is current. Every action carries a key made by the client, so that a lost response can be asked for
again. The queue itself is in `leases`, what can be read in `workload`; both are offered here too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import answers
from app.domain.answers import Body
from app.domain.assignment import UNDO_DEPTH, lease_length
from app.domain.states import ASSIGNMENT_MOVES, AssignmentState, SlotState, move
from app.errors import Conflict, Invalid, LeaseLost, NotFound, ReplayMismatch
from app.models import (
    Assignment,
    Comparison,
    Evaluation,
    Judgment,
    Project,
)
from app.services import bodies, comparisons, revisions
from app.services.bodies import body_of, rules_of
from app.services.leases import claim, enter, heartbeat, live, new_token, release
from app.services.workload import (
    HistoryItem,
    Progress,
    Sheet,
    history,
    progress,
    queue_state,
    sheet,
)

__all__ = [
    "HistoryItem",
    "Outcome",
    "Progress",
    "Sheet",
    "Skip",
    "Submission",
    "body_of",
    "claim",
    "heartbeat",
    "history",
    "progress",
    "queue_state",
    "release",
    "retract",
    "revise",
    "rules_of",
    "sheet",
    "skip",
    "submit",
    "undo",
]

KEY_SHORTEST, KEY_LONGEST = 8, 64
MEDIAN_EVERY = 20  # judgments between two looks at the median time
MEDIAN_OF = 200
MEDIAN_MOVES = 0.1
ACTIVE_LONGEST = timedelta(hours=24)

# Both rows as they are now; the comparison's lock keeps others from moving its slots.
_LOCKED = (
    select(Comparison, Assignment)
    .join(Assignment, Assignment.comparison_id == Comparison.id)
    .where(
        Assignment.id == bindparam("id"),
        Assignment.project_id == bindparam("project_id"),
        Assignment.labeler_id == bindparam("labeler_id"),
    )
    .with_for_update(key_share=True, of=(Comparison, Assignment))
    .execution_options(populate_existing=True)
)
_LOCKED_WITH_KEY = _LOCKED.add_columns(
    Judgment.id.label("replayed_id"),
    revisions.guidelines_version(bindparam("project_id")).label("version"),
).join(
    Judgment,
    (Judgment.labeler_id == bindparam("labeler_id"))
    & (Judgment.submission_key == bindparam("key")),
    isouter=True,
)


@dataclass(frozen=True, slots=True)
class Submission:
    """A judgment as it arrives; `key` is the client's and stays the same when it is sent again."""

    assignment_id: int
    lease_token: str
    key: str
    body: Body
    flags: tuple[str, ...] = ()
    comment: str = ""
    active_ms: int = 0


@dataclass(frozen=True, slots=True)
class Skip:
    """A comparison that the labeler would rather leave to others."""

    assignment_id: int
    lease_token: str
    key: str
    reason: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a submission.

    With `round_complete` the caller lets the round go on, in the same transaction. With
    `comparison_complete` alone it looks once more after the commit: two last judgments of two
    comparisons that are handed in at once do not see each other before.
    """

    judgment_id: int
    assignment_id: int
    comparison_id: int
    round_id: int | None
    submitted_at: datetime
    is_surplus: bool
    comparison_complete: bool
    round_complete: bool


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
    _check_key(given.key)
    enter(session, project.id, labeler_id)
    found = _locked_unless_replayed(session, project.id, labeler_id, given)
    if isinstance(found, Outcome):
        return found
    assignment, comparison, version = found
    if assignment.lease_token != given.lease_token:
        raise LeaseLost(f"assignment {assignment.id} was leased again since; reload the page")
    assignment = _successor(session, assignment)
    columns = _columns(session, project, assignment, comparison, given)
    state = _settle(session, assignment, comparison)
    moment = now(session)
    active = min(timedelta(milliseconds=max(given.active_ms, 0)), ACTIVE_LONGEST)
    judgment = revisions.append(
        session,
        assignment,
        comparison,
        given.key,
        moment,
        body_hash=_digest(given),
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
    return _outcome(session, judgment)


def skip(session: Session, project: Project, labeler_id: int, given: Skip) -> None:
    """End a lease without a judgment, with the reason; the slot goes to someone else."""
    _check_key(given.key)
    answers.check_skip(given.reason)
    answers.check_remarks((), given.comment)
    enter(session, project.id, labeler_id)
    assignment, comparison = _locked(session, project.id, labeler_id, given.assignment_id)
    if assignment.state == AssignmentState.SKIPPED and assignment.submission_key == given.key:
        return
    if assignment.lease_token != given.lease_token:
        raise LeaseLost(f"assignment {assignment.id} was leased again since; reload the page")
    if assignment.state in {AssignmentState.EXPIRED, AssignmentState.RELEASED}:
        return  # it has gone back to the queue already, which is what a skip wants
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


def undo(session: Session, project: Project, labeler_id: int, key: str) -> Assignment | None:
    """Open the labeler's last judgment or skip again, as a lease; None when there is none.

    The judgment is retracted until it is submitted again. At most ten are open this way at once.

    Raises:
        Conflict: ten are open already.
    """
    _check_key(key)
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
    _check_key(given.key)
    enter(session, project.id, labeler_id)
    replayed = revisions.by_key(session, labeler_id, given.key)
    if replayed is not None:
        if replayed.body_hash != _digest(given):
            raise ReplayMismatch(f"submission {given.key} came before with another answer")
        return _outcome(session, replayed)
    old = revisions.own(session, project.id, labeler_id, judgment_id)
    assignment, comparison = _locked(session, project.id, labeler_id, old.assignment_id)
    session.refresh(old)
    if not old.is_current or old.is_retraction:
        raise Conflict(f"judgment {judgment_id} was changed or retracted meanwhile")
    judgment = revisions.append(
        session,
        assignment,
        comparison,
        given.key,
        now(session),
        body_hash=_digest(given),
        is_surplus=old.is_surplus,
        started_at=old.started_at,
        active_ms=old.active_ms + max(given.active_ms, 0),
        **_columns(session, project, assignment, comparison, given),
    )
    return _outcome(session, judgment)


def retract(
    session: Session, project: Project, labeler_id: int, judgment_id: int, key: str
) -> Outcome:
    """Take a judgment back for good; its slot goes to someone else."""
    _check_key(key)
    enter(session, project.id, labeler_id)
    replayed = revisions.by_key(session, labeler_id, key)
    if replayed is not None:
        return _outcome(session, replayed)
    old = revisions.own(session, project.id, labeler_id, judgment_id)
    assignment, comparison = _locked(session, project.id, labeler_id, old.assignment_id)
    session.refresh(old)
    if not old.is_current or old.is_retraction:
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
    return _outcome(session, retraction)


def _check_key(key: str) -> None:
    if not KEY_SHORTEST <= len(key) <= KEY_LONGEST:
        raise Invalid(
            f"a submission key has {KEY_SHORTEST} to {KEY_LONGEST} characters, not {len(key)}"
        )


def _digest(given: Submission) -> str:
    return bodies.digest(given.assignment_id, given.body, given.flags, given.comment)


def _locked_unless_replayed(
    session: Session, project_id: int, labeler_id: int, given: Submission
) -> tuple[Assignment, Comparison, int] | Outcome:
    """Return both rows locked, with the guidelines' version, or the answer of the same before."""
    asked = {"id": given.assignment_id, "project_id": project_id, "labeler_id": labeler_id}
    found = session.execute(_LOCKED_WITH_KEY, asked | {"key": given.key}).first()
    if found is None or found.replayed_id is not None:
        replayed = revisions.by_key(session, labeler_id, given.key)
        if replayed is not None:
            if replayed.body_hash != _digest(given):
                raise ReplayMismatch(f"submission {given.key} came before with another answer")
            return _outcome(session, replayed)
        raise NotFound(f"you have no assignment {given.assignment_id} here")
    return found.Assignment, found.Comparison, found.version


def _locked(
    session: Session, project_id: int, labeler_id: int, assignment_id: int
) -> tuple[Assignment, Comparison]:
    found = session.execute(
        _LOCKED, {"id": assignment_id, "project_id": project_id, "labeler_id": labeler_id}
    ).first()
    if found is None:
        raise NotFound(f"you have no assignment {assignment_id} here")
    return found.Assignment, found.Comparison


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


def _columns(
    session: Session,
    project: Project,
    assignment: Assignment,
    comparison: Comparison,
    given: Submission,
) -> dict[str, Any]:
    k = len(assignment.shown_order)
    return bodies.columns(session, project, comparison, k, given.body, given.flags, given.comment)


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


def _outcome(session: Session, judgment: Judgment) -> Outcome:
    comparison = session.get_one(Comparison, judgment.comparison_id)
    round_id = comparison.round_id
    if round_id is None and comparison.evaluation_id is not None:
        round_id = session.get_one(Evaluation, comparison.evaluation_id).round_id
    return Outcome(
        judgment_id=judgment.id,
        assignment_id=judgment.assignment_id,
        comparison_id=comparison.id,
        round_id=round_id,
        submitted_at=judgment.submitted_at,
        is_surplus=judgment.is_surplus,
        comparison_complete=comparison.done_slots >= comparison.overlap,
        round_complete=round_id is not None and comparisons.is_complete(session, comparison),
    )


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

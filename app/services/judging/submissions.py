"""What arrives from a labeler, and what it is checked against, in the rows locked for it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.domain.answers import Body
from app.errors import Invalid, NotFound, ReplayMismatch
from app.models import Assignment, Comparison, Evaluation, Judgment, Project
from app.services.judging import judgment_bodies, revisions
from app.services.queue import comparisons

KEY_SHORTEST, KEY_LONGEST = 8, 64

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
    """What became of a submission, and whether its comparison and its round are complete.

    `rounds.judging_flow` advances the round accordingly.
    """

    judgment_id: int
    assignment_id: int
    comparison_id: int
    round_id: int | None
    submitted_at: datetime
    is_surplus: bool
    comparison_complete: bool
    round_complete: bool


def check_key(key: str) -> None:
    """Refuse a key of another length than clients make."""
    if not KEY_SHORTEST <= len(key) <= KEY_LONGEST:
        raise Invalid(
            f"a submission key has {KEY_SHORTEST} to {KEY_LONGEST} characters, not {len(key)}"
        )


def digest(given: Submission) -> str:
    """Return the hash of what a submission says."""
    return judgment_bodies.digest(given.assignment_id, given.body, given.flags, given.comment)


def locked_unless_replayed(
    session: Session, project_id: int, labeler_id: int, given: Submission
) -> tuple[Assignment, Comparison, int] | Outcome:
    """Return both rows locked, with the guidelines' version, or the answer of the same before."""
    asked = {"id": given.assignment_id, "project_id": project_id, "labeler_id": labeler_id}
    found = session.execute(_LOCKED_WITH_KEY, asked | {"key": given.key}).first()
    if found is None or found.replayed_id is not None:
        replayed = revisions.by_key(session, labeler_id, given.key)
        if replayed is not None:
            return same_again(session, replayed, given)
        raise NotFound(f"you have no assignment {given.assignment_id} here")
    return found.Assignment, found.Comparison, found.version


def same_again(session: Session, replayed: Judgment, given: Submission) -> Outcome:
    """Return the answer that the same submission got before.

    Raises:
        ReplayMismatch: the key came with another answer then.
    """
    if replayed.body_hash != digest(given):
        raise ReplayMismatch(f"submission {given.key} came before with another answer")
    return outcome(session, replayed)


def locked(
    session: Session, project_id: int, labeler_id: int, assignment_id: int
) -> tuple[Assignment, Comparison]:
    """Return a labeler's assignment and its comparison, locked.

    Raises:
        NotFound: it is not theirs.
    """
    found = session.execute(
        _LOCKED, {"id": assignment_id, "project_id": project_id, "labeler_id": labeler_id}
    ).first()
    if found is None:
        raise NotFound(f"you have no assignment {assignment_id} here")
    return found.Assignment, found.Comparison


def columns(
    session: Session,
    project: Project,
    assignment: Assignment,
    comparison: Comparison,
    given: Submission,
) -> dict[str, Any]:
    """Return a judgment's columns, checked against what its comparison asks."""
    k = len(assignment.shown_order)
    return judgment_bodies.columns(
        session, project, comparison, k, given.body, given.flags, given.comment
    )


def outcome(session: Session, judgment: Judgment) -> Outcome:
    """Return what became of a judgment."""
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

"""Submissions and skips as they arrive, and the rows that are locked to record them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentBody
from app.errors import Invalid, NotFound, ReplayMismatch
from app.models import Assignment, Comparison, Evaluation, Judgment, Project
from app.services.judging import judgment_bodies, revisions
from app.services.queue import comparisons

KEY_SHORTEST, KEY_LONGEST = 8, 64
ACTIVE_LONGEST_MS = 24 * 60 * 60 * 1000

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
    """A judgment as it arrives; a client that sends it again uses the same `key`."""

    assignment_id: int
    lease_token: str
    key: str
    body: JudgmentBody
    flags: tuple[str, ...] = ()
    comment: str = ""
    active_ms: int = 0
    instruction_version: int | None = None  # the one that the labeler saw; None: the newest


@dataclass(frozen=True, slots=True)
class Skip:
    """A comparison that the labeler leaves to others."""

    assignment_id: int
    lease_token: str
    key: str
    reason: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a submission, and whether it completed its comparison and its round.

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
    """Refuse a key that is too short, too long or cannot be stored."""
    if not KEY_SHORTEST <= len(key) <= KEY_LONGEST:
        raise Invalid(
            f"a submission key has {KEY_SHORTEST} to {KEY_LONGEST} characters, not {len(key)}"
        )
    if "\0" in key:
        raise Invalid("the submission key has a NUL character, which cannot be stored")


def active_ms(submission: Submission) -> int:
    """Return the time spent, which the client measures, within a day."""
    return min(max(submission.active_ms, 0), ACTIVE_LONGEST_MS)


def digest(submission: Submission) -> str:
    """Return the hash of a submission's content."""
    return judgment_bodies.digest(
        submission.assignment_id, submission.body, submission.flags, submission.comment
    )


def locked_unless_replayed(
    session: Session, project_id: int, labeler_id: int, submission: Submission
) -> tuple[Assignment, Comparison, int] | Outcome:
    """Return the assignment and its comparison, locked, and the version of the guidelines.

    If the submission was recorded before, return its outcome instead.
    """
    assignment_id, key = submission.assignment_id, submission.key
    values = {"id": assignment_id, "project_id": project_id, "labeler_id": labeler_id, "key": key}
    row = session.execute(_LOCKED_WITH_KEY, values).first()
    if row is None or row.replayed_id is not None:
        recorded = revisions.by_key(session, labeler_id, key)
        if recorded is not None:
            return replayed(session, recorded, submission)
        raise NotFound(f"you have no assignment {assignment_id} here")
    return row.Assignment, row.Comparison, row.version


def replayed(session: Session, recorded: Judgment, submission: Submission) -> Outcome:
    """Return the outcome of a submission that was recorded before under the same key.

    Raises:
        ReplayMismatch: the recorded judgment has other content.
    """
    if recorded.body_hash != digest(submission):
        raise ReplayMismatch(f"submission {submission.key} was sent before with another judgment")
    return outcome(session, recorded)


def locked(
    session: Session, project_id: int, labeler_id: int, assignment_id: int
) -> tuple[Assignment, Comparison]:
    """Return a labeler's assignment and its comparison, locked.

    Raises:
        NotFound: it is not theirs.
    """
    row = session.execute(
        _LOCKED, {"id": assignment_id, "project_id": project_id, "labeler_id": labeler_id}
    ).first()
    if row is None:
        raise NotFound(f"you have no assignment {assignment_id} here")
    return row.Assignment, row.Comparison


def columns(
    session: Session,
    project: Project,
    assignment: Assignment,
    comparison: Comparison,
    submission: Submission,
) -> dict[str, Any]:
    """Return a judgment's columns, checked against what its comparison asks for."""
    k = len(assignment.shown_order)
    return judgment_bodies.columns(
        session,
        project,
        comparison,
        k,
        submission.body,
        submission.flags,
        submission.comment,
    )


def outcome(session: Session, judgment: Judgment) -> Outcome:
    """Return the outcome of a recorded judgment."""
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

"""Judgments as append-only revisions of an assignment, one of which is current.

A change, a retraction and an undo append a revision; only the flag of the current one is ever
updated. Slots and leases are handled by `labeling`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import AssignmentState
from app.errors import NotFound
from app.models import Assignment, Comparison, Guidelines, Judgment, Project

_BY_KEY = select(Judgment).where(
    Judgment.labeler_id == bindparam("labeler_id"), Judgment.submission_key == bindparam("key")
)
_NEWEST = (
    select(Judgment)
    .where(Judgment.assignment_id == bindparam("assignment_id"))
    .order_by(Judgment.revision.desc())
    .limit(1)
)


def by_key(session: Session, labeler_id: int, key: str) -> Judgment | None:
    """Return the judgment that was submitted with a key, if any."""
    return session.scalar(_BY_KEY, {"labeler_id": labeler_id, "key": key})


def own(session: Session, project_id: int, labeler_id: int, judgment_id: int) -> Judgment:
    """Return a judgment of this labeler in this project.

    Raises:
        NotFound: there is none.
    """
    judgment = session.scalar(
        select(Judgment).where(
            Judgment.id == judgment_id,
            Judgment.project_id == project_id,
            Judgment.labeler_id == labeler_id,
        )
    )
    if judgment is None:
        raise NotFound(f"you have no judgment {judgment_id} here")
    return judgment


def in_project(session: Session, project_id: int, judgment_id: int) -> Judgment:
    """Return a judgment of any labeler of the project.

    Raises:
        NotFound: the project has no such judgment.
    """
    judgment = session.get(Judgment, judgment_id)
    if judgment is None or judgment.project_id != project_id:
        raise NotFound(f"there is no judgment {judgment_id} in this project")
    return judgment


def append(
    session: Session,
    assignment: Assignment,
    comparison: Comparison,
    key: str,
    moment: datetime,
    guidelines_version: int | None = None,
    instruction_version: int | None = None,
    ends_as: AssignmentState | None = None,
    **columns: Any,
) -> Judgment:
    """Append a revision and make it the current one.

    By default it is under the newest versions of the guidelines and of the instruction. With
    `ends_as`, the assignment ends in that state; one flush writes both.
    """
    newest = None
    if assignment.ended_at is not None:  # otherwise this is the first judgment
        newest = session.scalar(_NEWEST, {"assignment_id": assignment.id})
    if newest is not None:
        newest.is_current = False
        session.flush()  # the partial unique index allows one current row at a time
    if guidelines_version is None:
        guidelines_version = _newest_version(session, assignment.project_id)
    if instruction_version is None:
        project = session.get_one(Project, assignment.project_id)
        instruction_version = project.instruction_version
    if ends_as is not None:
        assignment.state, assignment.ended_at = ends_as, moment
    judgment = Judgment(
        project_id=assignment.project_id,
        assignment_id=assignment.id,
        comparison_id=comparison.id,
        labeler_id=assignment.labeler_id,
        revision=1 if newest is None else newest.revision + 1,
        supersedes_id=newest and newest.id,
        is_current=True,
        kind=JudgmentKind(comparison.kind),
        shown_order=assignment.shown_order,
        guidelines_version=guidelines_version,
        instruction_version=instruction_version,
        submission_key=key,
        submitted_at=moment,
        **columns,
    )
    session.add(judgment)
    session.flush()
    return judgment


def retract(session: Session, assignment: Assignment, comparison: Comparison, key: str) -> Judgment:
    """Append the revision that retracts the judgment."""
    moment = now(session)
    return append(
        session,
        assignment,
        comparison,
        key,
        moment,
        is_retraction=True,
        is_surplus=assignment.state == AssignmentState.SURPLUS,
        flags=[],
        body_hash="",
        started_at=moment,
        active_ms=0,
    )


def guidelines_version(project_id: int | ColumnElement[int]) -> ColumnElement[int]:
    """Return the newest version of the guidelines as a column for another statement."""
    newest = select(func.max(Guidelines.version)).where(Guidelines.project_id == project_id)
    return func.coalesce(newest.scalar_subquery(), 0)


def _newest_version(session: Session, project_id: int) -> int:
    return session.scalars(select(guidelines_version(project_id))).one()

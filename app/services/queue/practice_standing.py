"""Practice: who must pass it, their progress, and the set. Judgments are in `practice_runs`.

A run goes through all practice comparisons of a project once. A pass is permanent, even if the set
grows or the pass mark rises, unless a lead resets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, and_, exists, false, func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.practice import Standing
from app.errors import Conflict
from app.models import (
    Comparison,
    Judgment,
    Membership,
    PracticeAnswer,
    Project,
    Prompt,
    Purpose,
    Role,
    User,
)
from app.services.people import accounts, audit


@dataclass(frozen=True, slots=True)
class PracticeComparison:
    """A comparison of the practice set, with the number of judgments and of right ones."""

    comparison: Comparison
    prompt: Prompt
    answers: int
    right: int


def is_required(session: Session, project: Project, member: Membership | None) -> bool:
    """Return whether a member must pass before they label.

    This needs a pass mark and a practice set. Leads, who settle what is right, and simulated
    labelers are exempt.
    """
    if project.practice_pass_share is None or member is None:
        return False
    if member.practice_passed_at is not None or member.role == Role.LEAD:
        return False
    is_simulated = exists().where(User.id == member.user_id, User.is_simulated)
    return bool(session.scalar(select(exists().where(in_set(project.id)) & ~is_simulated)))


@dataclass(frozen=True, slots=True)
class PassMark:
    """What a pass mark does or would do: how much there is to practice, and who has not passed.

    `held_back` has the pseudonyms of the active labelers who would get no comparisons until they
    pass; nobody is held back while there is nothing to practice.
    """

    share: float | None
    total: int
    held_back: tuple[str, ...]


def pass_mark(session: Session, project: Project) -> PassMark:
    """Return what the pass mark does, or what one would do."""
    total = session.scalar(select(func.count(Comparison.id)).where(in_set(project.id))) or 0
    query = (
        select(Membership.pseudonym)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.project_id == project.id,
            Membership.role != Role.LEAD,
            Membership.practice_passed_at.is_(None),
            Membership.is_paused.is_(False),
            User.is_simulated.is_(False),
            User.is_active,
        )
        .order_by(Membership.id)
    )
    held_back = tuple(session.scalars(query)) if total else ()
    return PassMark(project.practice_pass_share, total, held_back)


def standing(session: Session, project: Project, labeler_id: int) -> Standing:
    """Return a labeler's progress in their current run."""
    member = accounts.membership(session, project.id, labeler_id)
    run = member.practice_run if member else 1
    answered = and_(
        PracticeAnswer.comparison_id == Comparison.id,
        PracticeAnswer.labeler_id == labeler_id,
        PracticeAnswer.run == run,
    )
    row = session.execute(
        select(
            func.count(Comparison.id),
            func.count(PracticeAnswer.id),
            func.coalesce(func.sum(PracticeAnswer.is_right.cast(Integer)), 0),
        )
        .select_from(Comparison)
        .join(PracticeAnswer, answered, isouter=True)
        .where(in_set(project.id))
    ).one()
    passed = member is not None and member.practice_passed_at is not None
    return Standing(run, row[0], row[1], int(row[2]), project.practice_pass_share, passed)


def note_passing(session: Session, project: Project, member: Membership) -> Standing:
    """Record that a member has passed, once their run reaches the pass mark."""
    current = standing(session, project, member.user_id)
    if project.practice_pass_share is None or current.is_passed or not current.reaches_the_mark:
        return current
    member.practice_passed_at = now(session)
    session.flush()
    return standing(session, project, member.user_id)


def begin_again(session: Session, project: Project, member: Membership) -> None:
    """Start the next run; earlier judgments stay on record.

    Raises:
        Conflict: the current run is not complete.
    """
    current = standing(session, project, member.user_id)
    if not current.is_complete:
        raise Conflict(
            f"this practice run is not complete: {current.left} of {current.total} are still to be "
            "judged"
        )
    member.practice_run += 1
    session.flush()


def ask_again(session: Session, project: Project, member: Membership, *, actor_id: int) -> None:
    """Reset a member's pass: they must practice again before they label."""
    member.practice_passed_at = None
    member.practice_run += 1
    audit.record(
        session,
        "member.practise",
        f"user {member.user_id}",
        actor_id=actor_id,
        project_id=project.id,
    )
    session.flush()


def is_new(session: Session, member: Membership | None) -> bool:
    """Return whether to show a member the guide: no judgment yet, and the guide not dismissed."""
    if member is None or member.guide_dismissed_at is not None:
        return False
    judged = exists().where(
        Judgment.labeler_id == member.user_id, Judgment.project_id == member.project_id
    )
    practiced = exists().where(
        PracticeAnswer.labeler_id == member.user_id,
        PracticeAnswer.project_id == member.project_id,
    )
    return not session.scalar(select(judged | practiced))


def dismiss_guide(session: Session, project_id: int, user_id: int) -> None:
    """Record that a member has dismissed the guide of the first comparison."""
    member = accounts.membership(session, project_id, user_id)
    if member is not None and member.guide_dismissed_at is None:
        member.guide_dismissed_at = now(session)


def practice_set(session: Session, project_id: int) -> list[PracticeComparison]:
    """Return the practice set with the judgments of all runs counted."""
    counts = (
        select(
            PracticeAnswer.comparison_id,
            func.count().label("answers"),
            func.sum(PracticeAnswer.is_right.cast(Integer)).label("right"),
        )
        .where(PracticeAnswer.project_id == project_id)
        .group_by(PracticeAnswer.comparison_id)
        .subquery()
    )
    query = (
        select(Comparison, Prompt, counts.c.answers, counts.c.right)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(counts, counts.c.comparison_id == Comparison.id, isouter=True)
        .where(in_set(project_id))
        .order_by(Comparison.id)
    )
    return [
        PracticeComparison(comparison, prompt, answers or 0, int(right or 0))
        for comparison, prompt, answers, right in session.execute(query)
    ]


def standings(
    session: Session, project: Project, members: Sequence[Membership]
) -> list[tuple[Membership, Standing]]:
    """Return the progress of each member who has practiced or must."""
    size, answered = _answers(session, project.id)
    progress = [
        (member, _standing(project, member, size, *answered.get(_run_of(member), (0, 0))))
        for member in members
    ]
    return [
        (member, current)
        for member, current in progress
        if current.answered
        or current.run > 1
        or current.is_passed
        or is_required(session, project, member)
    ]


def _answers(
    session: Session, project_id: int
) -> tuple[int, dict[tuple[int, int], tuple[int, int]]]:
    """Return the size of the set, and how many were answered and right by labeler and run."""
    size = session.scalar(select(func.count(Comparison.id)).where(in_set(project_id))) or 0
    query = (
        select(
            PracticeAnswer.labeler_id,
            PracticeAnswer.run,
            func.count(PracticeAnswer.id),
            func.coalesce(func.sum(PracticeAnswer.is_right.cast(Integer)), 0),
        )
        .join(Comparison, Comparison.id == PracticeAnswer.comparison_id)
        .where(in_set(project_id))
        .group_by(PracticeAnswer.labeler_id, PracticeAnswer.run)
    )
    rows = session.execute(query)
    return size, {(labeler, run): (count, int(right)) for labeler, run, count, right in rows}


def _run_of(member: Membership) -> tuple[int, int]:
    return member.user_id, member.practice_run


def _standing(
    project: Project, member: Membership, size: int, answered: int, right: int
) -> Standing:
    passed = member.practice_passed_at is not None
    return Standing(member.practice_run, size, answered, right, project.practice_pass_share, passed)


def in_set(project_id: int | ColumnElement[int]) -> ColumnElement[bool] | Any:
    """Return the condition that a comparison is in a project's practice set."""
    return and_(
        Comparison.project_id == project_id,
        Comparison.purpose == Purpose.PRACTICE,
        Comparison.is_withdrawn == false(),
        Comparison.gold_answer.is_not(None),
    )

"""Progress through the queue: what a labeler holds, has judged and has left; open slots in all."""

from collections import Counter
from datetime import datetime

from sqlalchemy import ColumnElement, and_, false, func, select, text, true
from sqlalchemy.orm import Session, aliased

from app.db import now
from app.domain.assignment import QueueState
from app.domain.states import AssignmentState
from app.models import Assignment, Comparison, Judgment, Project, Purpose
from app.services.people import accounts
from app.services.queue import counted_judgments, eligibility, practice_standing

COUNTED_MOST = 200  # open comparisons; a labeler sees how many are left
TOTAL_MOST = 10_000
JUDGED_MOST = 1_000  # judgments of a day; further ones change nothing that a lead would do
_ORDINARY = (Purpose.TRAIN, Purpose.EVALUATION, Purpose.FRESH)


def held(session: Session, project_id: int, labeler_id: int) -> Assignment | None:
    """Return the lease that the labeler is shown, if any; nothing is leased here."""
    return session.scalar(
        select(Assignment)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.project_id == project_id,
            Assignment.state == AssignmentState.LEASED,
        )
        .order_by(Assignment.leased_at, Assignment.id)
        .limit(1)
    )


def state(session: Session, project: Project, labeler_id: int) -> QueueState:
    """Return the state of the queue for one labeler.

    A page must not count a million comparisons each time it is shown. While there is work, `open`
    and `total` are counted up to a bound, and the state records that they are lower bounds.
    """
    mine, in_all = _own_counts(session, project.id, labeler_id)
    open_now = count_open(session, project.id, labeler_id)
    total, is_total_exact = _count_all(session, project.id, is_needed=not open_now)
    with_others, next_free_at = _with_others(session, project.id, labeler_id)
    member = accounts.membership(session, project.id, labeler_id)
    return QueueState(
        open=open_now,
        is_open_exact=open_now < COUNTED_MOST,
        held=mine[AssignmentState.LEASED],
        judged=mine[AssignmentState.SUBMITTED] + mine[AssignmentState.SURPLUS],
        skipped=mine[AssignmentState.SKIPPED],
        total=total,
        is_total_exact=is_total_exact,
        held_in_all=in_all[AssignmentState.LEASED],
        judged_in_all=in_all[AssignmentState.SUBMITTED] + in_all[AssignmentState.SURPLUS],
        with_others=with_others,
        next_free_s=None
        if next_free_at is None
        else max((next_free_at - now(session)).total_seconds(), 0.0),
        project_is_paused=project.is_paused,
        labeler_is_paused=member is not None and member.is_paused,
        labeler_is_practising=practice_standing.is_required(session, project, member),
    )


def count_open_slots(session: Session) -> int:
    """Count the judgments that are still wanted, in all projects."""
    query = select(func.sum(Comparison.open_slots)).where(Comparison.is_open)
    return session.scalar(query) or 0


def judged_since(
    session: Session, labeler_id: int, since: datetime, project_id: int | None = None
) -> int:
    """Return how many comparisons the labeler has judged since then, each counted once."""
    query = select(func.count()).where(
        Judgment.labeler_id == labeler_id,
        Judgment.submitted_at >= since,
        counted_judgments.stands(),
    )
    if project_id is not None:
        query = query.where(Judgment.project_id == project_id)
    return session.scalar(query) or 0


def judged_by_all_since(session: Session, project_id: int, since: datetime) -> int:
    """Return how many judgments the project has had since then, counted up to `JUDGED_MOST`."""
    # A statement of its own, because SQLite would choose another index over the one on the time.
    new = aliased(Judgment)
    recent = select(new.id).where(new.project_id == project_id, new.submitted_at >= since)
    some = recent.limit(JUDGED_MOST)
    return (
        session.scalar(
            select(func.count()).where(Judgment.id.in_(some), counted_judgments.stands())
        )
        or 0
    )


def _is_ordinary(project_id: int) -> ColumnElement[bool]:
    return and_(
        Comparison.project_id == project_id,
        Comparison.purpose.in_(_ORDINARY),
        Comparison.is_withdrawn == false(),
    )


def _own_counts(
    session: Session, project_id: int, labeler_id: int
) -> tuple[Counter[AssignmentState], Counter[AssignmentState]]:
    """Count a labeler's assignments by state: of ordinary comparisons, and of all but practice."""
    rows = session.execute(
        select(Assignment.state, Comparison.purpose, func.count())
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.project_id == project_id,
            Comparison.is_withdrawn == false(),
            Comparison.purpose != Purpose.PRACTICE,
        )
        .group_by(Assignment.state, Comparison.purpose)
    )
    ordinary, in_all = Counter[AssignmentState](), Counter[AssignmentState]()
    for assignment_state, purpose, count in rows:
        in_all[AssignmentState(assignment_state)] += count
        if purpose in _ORDINARY:
            ordinary[AssignmentState(assignment_state)] += count
    return ordinary, in_all


def count_open(session: Session, project_id: int, labeler_id: int) -> int:
    """Count the comparisons that a labeler could lease now, up to `COUNTED_MOST`."""
    # The lowest levels of the queue hold what this labeler is least likely to have judged.
    some = (
        select(Comparison.id)
        .where(
            Comparison.project_id == project_id,
            Comparison.purpose.in_(_ORDINARY),
            Comparison.is_open == true(),
            eligibility.may_judge(labeler_id),
        )
        .limit(COUNTED_MOST)
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(some)) or 0


def _count_all(session: Session, project_id: int, *, is_needed: bool) -> tuple[int, bool]:
    """Count the project's comparisons, exactly only if a sentence needs the number."""
    ordinary = select(Comparison.id).where(_is_ordinary(project_id))
    some = ordinary if is_needed else ordinary.limit(TOTAL_MOST)
    total = session.scalar(select(func.count()).select_from(some.subquery())) or 0
    return total, is_needed or total < TOTAL_MOST


def _is_leased(session: Session, project_id: int) -> ColumnElement[bool]:
    """Return the condition of a lease; SQLite, where most are submitted, would read every row."""
    if session.get_bind().dialect.name != "sqlite":
        is_leased = Assignment.state == AssignmentState.LEASED
        return and_(Assignment.project_id == project_id, is_leased)
    query = text(
        "SELECT id FROM assignment INDEXED BY ix_assignment_expiry "
        "WHERE project_id = :of_project AND state = :leased"
    ).bindparams(of_project=project_id, leased=AssignmentState.LEASED.value)
    return Assignment.id.in_(query.columns(Assignment.id))


def _with_others(session: Session, project_id: int, labeler_id: int) -> tuple[int, datetime | None]:
    """Count comparisons whose remaining slots others hold, and when the first slot is freed."""
    row = session.execute(
        select(func.count(Comparison.id.distinct()), func.min(Assignment.expires_at))
        .join(Assignment, Assignment.comparison_id == Comparison.id)
        .where(
            _is_leased(session, project_id),
            Assignment.labeler_id != labeler_id,
            # Not by the project again: SQLite would begin with all of its comparisons.
            Comparison.purpose.in_(_ORDINARY),
            Comparison.is_withdrawn == false(),
            Comparison.is_open == false(),
            eligibility.may_judge(labeler_id),
        )
    ).one()
    return row[0], row[1]

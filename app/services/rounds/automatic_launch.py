"""Starts a project's next round once enough new judgments are there: `advance` between two rounds.

It is called after the judgment with which there may be enough, and by every sweep; it may be called
at any time and by several at once, because the round starts under a lock.
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.automatic_rounds import Blocker
from app.errors import AttuneError, Forbidden
from app.models import AutomaticRounds, Judgment, Membership, Project, Role, Round, User
from app.services.rounds import automatic_rounds, launch_plans, next_plan, rounds
from app.services.rounds.automatic_rounds import AutomaticStatus

LATE = 100
"""Judgments that are still uncommitted, at most, while one with a higher number is there."""


def advance(session: Session, project_id: int) -> Round | None:
    """Start the project's next round if it is due, and return it.

    Otherwise note from which judgment on it is worth looking again: as many as are missing have to
    be made before. A round that cannot be launched pauses automatic rounds, and the reason is kept.
    """
    project = session.get_one(Project, project_id)
    # Before counting, so that a judgment made meanwhile is counted or looks again.
    newest = session.scalar(select(func.max(Judgment.id))) or 0
    status = automatic_rounds.status(session, project, is_shown=False)
    if status.blocker is None:
        return _launch_if_due(session, project)
    _look_from(project, status, newest)
    session.flush()
    return None


def look(session: Session, project_id: int) -> None:
    """Advance the project after the judgment with which there may be enough."""
    advance(session, project_id)


def sweep(session: Session) -> None:
    """Look at every project whose next round may be due."""
    newest = session.scalar(select(func.max(Judgment.id))) or 0
    for project_id in automatic_rounds.ids_to_look_at(session):
        look_from = session.get_one(Project, project_id).automatic_look_from_id
        if look_from is None or newest + LATE >= look_from:
            advance(session, project_id)


def _look_from(project: Project, status: AutomaticStatus, newest: int) -> None:
    """Note the judgment from which to look; time and people's decisions are left to the sweep."""
    is_counting = status.blocker is Blocker.TOO_FEW
    look_from = newest + status.missing if is_counting else None
    if project.automatic_look_from_id != look_from:
        project.automatic_look_from_id = look_from


def _launch_if_due(session: Session, project: Project) -> Round | None:
    row = automatic_rounds.locked(session, project.id)
    session.get(Project, project.id, with_for_update=True, populate_existing=True)
    status = automatic_rounds.status(
        session, project, is_shown=False
    )  # somebody may have been faster
    if row is None or status.blocker is not None:
        return None
    project.automatic_look_from_id = None
    try:
        with session.begin_nested():
            return _launch(session, project, row, status)
    except AttuneError as error:
        reason = f"round {status.next_number} could not start: {error}"
        automatic_rounds.stop(session, project.id, reason)
        return None


def _launch(
    session: Session, project: Project, row: AutomaticRounds, status: AutomaticStatus
) -> Round:
    _check_right(session, project, row.set_by_id)
    data = launch_plans.data_of(session, project)
    plan = next_plan.of_project(session, project, row.plan, data)
    trigger = {"judgments": status.judgments, "since": status.since, "set_by_id": row.set_by_id}
    made = rounds.launch(session, project, plan, row.set_by_id, trigger=trigger)
    automatic_rounds.note_launch(session, row)
    return made


def _check_right(session: Session, project: Project, user_id: int) -> None:
    """Refuse to act for somebody who could not launch the round anymore.

    Raises:
        Forbidden: they do not lead the project, or their account is not in use.
    """
    user = session.get_one(User, user_id)
    leads = select(Membership.id).where(
        Membership.project_id == project.id,
        Membership.user_id == user_id,
        Membership.role == Role.LEAD,
    )
    if not user.is_active or not (user.is_admin or session.scalar(leads) is not None):
        raise Forbidden(
            f"{user.name}, who turned automatic rounds on, no longer leads {project.name}; "
            "another lead can save the settings"
        )

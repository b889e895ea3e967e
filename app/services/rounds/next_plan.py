"""The plan that a project's next round starts from, for a person to change or to be carried out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import launch_sizes
from app.domain.launch_choice import ChoiceName
from app.domain.launch_sizes import ProjectData
from app.domain.plan import RoundPlan
from app.models import Project, Round
from app.services.quality import weights_in_use


def of_project(
    session: Session, project: Project, kept: Mapping[str, Any] | None, data: ProjectData
) -> RoundPlan:
    """Return a kept plan, or else that of the last round, or else the balanced choice.

    One that was made from a choice is made anew for what the project has now. The labeler weights
    and chat settings are the project's, as they are now.
    """
    found = kept if kept is not None else of_last(session, project.id)
    if found is not None:
        plan = launch_sizes.renewed(RoundPlan.from_json(found), data)
    else:
        plan = launch_sizes.applied(ChoiceName.BALANCED, data)
    return weights_in_use.in_next(session, project, replace(plan, chat=None))


def of_last(session: Session, project_id: int) -> dict[str, Any] | None:
    """Return the plan of a project's last round; None without one."""
    newest = select(Round.plan).where(Round.project_id == project_id).order_by(Round.number.desc())
    return session.scalar(newest.limit(1))

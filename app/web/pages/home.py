"""Home: the viewer's projects, what they judged today, and what is left for them."""

from dataclasses import dataclass
from datetime import datetime

from fastapi import Request, Response
from sqlalchemy.orm import Session

from app.db import now
from app.domain.assignment import QueueState, why_empty
from app.domain.practice import Standing
from app.models import Membership, Project, Role, User
from app.services.judging import queue_progress
from app.services.project import projects
from app.services.queue import practice_standing
from app.web import addresses
from app.web.assignments import judged_of
from app.web.deps import SignedIn
from app.web.render import render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class ProjectCard:
    """A project as one of its members sees it."""

    project: Project
    is_lead: bool
    is_member: bool
    today: int
    queue: QueueState
    guidelines_are_news: bool
    practice: Standing | None  # of a labeler who must pass it first

    @property
    def left(self) -> str:
        """How much there is to judge; a count that is not exact is rounded down."""
        count = self.queue.open + self.queue.held_in_all
        if not self.queue.is_open_exact:
            return f"{count // 100 * 100 or count:,}+ comparisons to judge"
        return f"{count:,} comparison{'' if count == 1 else 's'} to judge"

    @property
    def judged(self) -> int:
        """The number of judgments made, including gold comparisons and repeats."""
        return judged_of(self.queue)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why there is nothing to judge, and how far a labeler is who must practice first."""
        return why_empty(self.queue) + (self.practice.sentences if self.practice else ())

    @property
    def verb(self) -> str:
        """The label of the practice button."""
        if self.practice is None or not self.practice.answered:
            return "Practice"
        return "View results" if self.practice.is_complete else "Continue practice"


@dataclass(frozen=True, slots=True)
class HomePage:
    """The projects of the viewer."""

    cards: list[ProjectCard]
    today: int
    may_create: bool


@router.get("/")
def show(request: Request, access: SignedIn) -> Response:
    """Show the projects."""
    session, user = access.session, access.user
    midnight = now(session).replace(hour=0, minute=0, second=0, microsecond=0)
    cards = [
        _card(session, user, project, member, midnight)
        for project, member in projects.of_user(session, user)
    ]
    today = queue_progress.judged_since(session, user.id, midnight)
    return render(request, "home/page.html", HomePage(cards, today, user.is_admin))


def _card(
    session: Session, user: User, project: Project, member: Membership | None, midnight: datetime
) -> ProjectCard:
    versions = projects.guidelines_history(session, project.id)
    newest = versions[0].version if versions else 0
    queue = queue_progress.state(session, project, user.id)
    return ProjectCard(
        project=project,
        is_lead=user.is_admin or (member is not None and member.role == Role.LEAD),
        is_member=member is not None,
        today=queue_progress.judged_since(session, user.id, midnight, project.id),
        queue=queue,
        guidelines_are_news=member is not None and newest > member.guidelines_read_version,
        practice=practice_standing.standing(session, project, user.id)
        if queue.labeler_is_practising
        else None,
    )

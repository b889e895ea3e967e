"""Home: the viewer's projects, what they judged today, and what is left for them."""

from dataclasses import dataclass
from datetime import datetime

from fastapi import Request, Response
from sqlalchemy.orm import Session

from app.db import now
from app.domain.assignment import QueueState, why_empty
from app.domain.practice import Standing
from app.domain.states import RoundState
from app.models import Membership, Project, Role, Round, User
from app.services.judging import queue_progress
from app.services.project import projects
from app.services.queue import practice_standing
from app.services.rounds import round_progress
from app.web import addresses
from app.web.assignments import judged_of
from app.web.deps import SignedIn
from app.web.render import render

router = addresses.page_router()

_WAITS = {
    RoundState.FAILED: "Round {number} has failed: retry or cancel it",
    RoundState.GATED: "Round {number} waits at a check: choose what to do",
    RoundState.DECIDING: "Round {number} is evaluated: promote or hold its policy",
}


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
    waiting: Round | None = None  # for a decision of the viewer, who leads the project
    by_all: int = 0  # judgments of all labelers today, for a lead; counted up to a bound

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
    def state(self) -> str:
        """What a lead wants to know at a glance: how much was judged today, and what is left."""
        plus = "+" if self.by_all >= queue_progress.JUDGED_MOST else ""
        plural = "" if self.by_all == 1 else "s"
        judged = f"{self.by_all:,}{plus}" if self.by_all else "no"
        judged += f" judgment{plural} today"
        if self.is_member:
            return judged[:1].upper() + judged[1:]
        if self.queue.project_is_paused:
            return f"Labeling is paused · {judged}"
        return f"{self.left if self.queue.open else 'Nothing to judge'} · {judged}"

    @property
    def waits(self) -> str:
        """What the project's newest round waits for, if it waits for a lead."""
        if self.waiting is None:
            return ""
        return _WAITS[RoundState(self.waiting.state)].format(number=self.waiting.number)

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
    mine = projects.of_user(session, user)
    led = [project.id for project, member in mine if _leads(user, member)]
    waiting = round_progress.waiting_for_lead(session, led)
    cards = [
        _card(session, user, project, member, midnight, waiting.get(project.id))
        for project, member in mine
    ]
    today = queue_progress.judged_since(session, user.id, midnight)
    return render(request, "home/page.html", HomePage(cards, today, user.is_admin))


def _leads(user: User, member: Membership | None) -> bool:
    return user.is_admin or (member is not None and member.role == Role.LEAD)


def _card(
    session: Session,
    user: User,
    project: Project,
    member: Membership | None,
    midnight: datetime,
    waiting: Round | None,
) -> ProjectCard:
    versions = projects.guidelines_history(session, project.id)
    is_news = bool(
        member is not None
        and versions
        and versions[0].text
        and versions[0].version > member.guidelines_read_version
    )
    is_lead = _leads(user, member)
    queue = queue_progress.state(session, project, user.id)
    return ProjectCard(
        project=project,
        is_lead=is_lead,
        is_member=member is not None,
        today=queue_progress.judged_since(session, user.id, midnight, project.id),
        queue=queue,
        guidelines_are_news=is_news,
        practice=practice_standing.standing(session, project, user.id)
        if queue.labeler_is_practising
        else None,
        waiting=waiting,
        by_all=queue_progress.judged_by_all_since(session, project.id, midnight) if is_lead else 0,
    )

"""A project's first page: the loop with live counts, the next step, and what needs attention."""

from dataclasses import dataclass
from datetime import datetime

from fastapi import Request, Response

from app.db import now
from app.domain.states import RoundState
from app.models import Project, WorkerHeartbeat
from app.services.checkpoints import base_models
from app.services.checkpoints.base_models import ChosenBase
from app.services.jobs import workers
from app.services.quality import kept_figures
from app.services.rounds import loop_overview
from app.services.rounds.loop_overview import Attention, JudgedEvaluation, Loop
from app.web import addresses, next_step_words
from app.web.deps import LeadAccess, ProjectAccess
from app.web.next_step_words import NextStepWords
from app.web.render import render

router = addresses.page_router()

_LEFT, _WIDTH, _TOP, _HEIGHT = 44.0, 466.0, 12.0, 140.0


@dataclass(frozen=True, slots=True)
class AttentionItem:
    """Something to check, with a link to where it can be checked."""

    text: str
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class WinRatePoint:
    """A point of the win-rate chart; `y_low` and `y_high` are the ends of its interval."""

    name: str
    share: float
    low: float | None
    high: float | None
    prompts: int
    x: float
    y: float
    y_low: float | None
    y_high: float | None
    decided_by: str = ""  # an AI judge; empty for people


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """The loop, the next step in words, and the workers that are alive."""

    project: Project
    loop: Loop
    next: NextStepWords
    attention: tuple[AttentionItem, ...]
    alive: list[WorkerHeartbeat]
    as_of: datetime | None  # of figures that newer judgments are not in yet
    base: ChosenBase | None  # that rounds build on

    @property
    def wins(self) -> list[WinRatePoint]:
        """The points of the win-rate chart, the oldest round first."""
        judged = self.loop.judged
        return [_point(at, len(judged), evaluation) for at, evaluation in enumerate(judged)]

    @property
    def has_ai_wins(self) -> bool:
        """Whether an AI judge has decided one of the evaluations."""
        return any(point.decided_by for point in self.wins)

    @property
    def wins_path(self) -> str:
        """The line through the points."""
        points = "L".join(f"{point.x:.1f} {point.y:.1f}" for point in self.wins)
        return f"M{points}" if points else ""

    @property
    def wins_ticks(self) -> list[tuple[float, int]]:
        """The horizontal lines: height and percentage."""
        return [(_y(percent / 100), percent) for percent in (25, 50, 75)]

    @property
    def is_evaluating(self) -> bool:
        """Whether people are judging the new policy against the previous one."""
        round_ = self.loop.round
        return round_ is not None and round_.state == RoundState.EVALUATING


@router.get("/p/{slug}")
def show(request: Request, access: LeadAccess) -> Response:
    """Show the project."""
    return render(request, "overview/page.html", _page(access))


@router.get("/p/{slug}/overview/live")
def live(request: Request, access: LeadAccess) -> Response:
    """Return the part of the page that refreshes itself."""
    return render(request, "overview/_live.html", _page(access), fragment=True)


def _page(access: ProjectAccess) -> OverviewPage:
    session, project = access.session, access.project
    loop = loop_overview.of_project(session, project)
    moment = now(session)
    return OverviewPage(
        project,
        loop,
        next_step_words.words(project, loop.next),
        _attention_items(project, loop.attention),
        [worker for worker in workers.listed(session) if workers.is_alive(worker, moment)],
        kept_figures.as_of(session),
        base_models.in_use(session, project),
    )


def _attention_items(project: Project, attention: Attention) -> tuple[AttentionItem, ...]:
    items = []
    comparisons = addresses.path("comparisons.show", slug=project.slug)
    if attention.low_agreement:
        plural = "s" if attention.low_agreement != 1 else ""
        text = f"{attention.low_agreement:,} comparison{plural} below 60 % agreement"
        items.append(AttentionItem(text, "Settle", f"{comparisons}?state=low"))
    if attention.flagged:
        text = f"{attention.flagged:,} flagged judgment{'s' if attention.flagged != 1 else ''}"
        items.append(AttentionItem(text, "Check", f"{comparisons}?state=flagged"))
    agreement = addresses.path("agreement.show", slug=project.slug)
    for labeler, remark in attention.labelers:
        items.append(AttentionItem(f"{labeler} {remark}", "Check", agreement))
    return tuple(items)


def _point(at: int, count: int, evaluation: JudgedEvaluation) -> WinRatePoint:
    results = evaluation.results
    share, low, high = results.share or 0.0, results.low, results.high
    return WinRatePoint(
        f"Round {evaluation.round.number}",
        share,
        low,
        high,
        results.prompts,
        _LEFT + _WIDTH * (at + 0.5) / count,
        _y(share),
        None if low is None else _y(low),
        None if high is None else _y(high),
        results.decided_by,
    )


def _y(share: float) -> float:
    return _TOP + _HEIGHT * (1 - share)

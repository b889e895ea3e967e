"""A project's first page: the loop with live counts, and what to do next."""

from dataclasses import dataclass

from fastapi import Request, Response

from app.db import now
from app.domain.states import RoundState
from app.models import Project, WorkerHeartbeat
from app.services.jobs import workers
from app.services.rounds import loop_overview
from app.services.rounds.loop_overview import Loop
from app.web import addresses
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import render

router = addresses.page_router()

_LEFT, _WIDTH, _TOP, _HEIGHT = 44.0, 466.0, 12.0, 140.0


@dataclass(frozen=True, slots=True)
class Won:
    """A point of the win-rate chart; `low` and `high` are heights of the interval's ends."""

    name: str
    share: float
    low: float | None
    high: float | None
    prompts: int
    x: float
    y: float
    y_low: float | None
    y_high: float | None


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """The loop, and the workers that were seen lately."""

    project: Project
    loop: Loop
    alive: list[WorkerHeartbeat]

    @property
    def wins(self) -> list[Won]:
        """The points of the win-rate chart, the oldest round first."""
        found = self.loop.judged
        return [
            _won(at, len(found), one)
            for at, one in enumerate(found)
            if one.results.share is not None
        ]

    @property
    def wins_path(self) -> str:
        """The line through the points."""
        return "M" + "L".join(f"{one.x:.1f} {one.y:.1f}" for one in self.wins) if self.wins else ""

    @property
    def wins_ticks(self) -> list[tuple[float, int]]:
        """Heights of the horizontal lines, with their percents."""
        return [(_y(percent / 100), percent) for percent in (25, 50, 75)]

    @property
    def is_evaluating(self) -> bool:
        """True while people judge the new policy against the old."""
        round_ = self.loop.round
        return round_ is not None and round_.state == RoundState.EVALUATING


@router.get("/p/{slug}")
def show(request: Request, access: LeadAccess) -> Response:
    """Show the project."""
    return render(request, "overview/page.html", _page(access))


@router.get("/p/{slug}/overview/live")
def live(request: Request, access: LeadAccess) -> Response:
    """Give the part that refreshes itself."""
    return render(request, "overview/_live.html", _page(access), fragment=True)


def _page(access: ProjectAccess) -> OverviewPage:
    moment = now(access.session)
    alive = [one for one in workers.listed(access.session) if workers.is_alive(one, moment)]
    return OverviewPage(
        access.project, loop_overview.of_project(access.session, access.project), alive
    )


def _won(at: int, count: int, one: loop_overview.Judged) -> Won:
    share = one.results.share or 0.0
    low, high = one.results.low, one.results.high
    return Won(
        f"Round {one.round.number}",
        share,
        low,
        high,
        one.results.prompts,
        _LEFT + _WIDTH * (at + 0.5) / count,
        _y(share),
        None if low is None else _y(low),
        None if high is None else _y(high),
    )


def _y(share: float) -> float:
    return _TOP + _HEIGHT * (1 - share)

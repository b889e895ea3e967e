"""A project's first page: the loop with live counts, the next step, and what needs attention."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request, Response

from app.db import now
from app.domain.states import RoundState
from app.models import Project, WorkerHeartbeat
from app.services.checkpoints import base_models
from app.services.checkpoints.base_models import ChosenBase
from app.services.datasets import exports
from app.services.jobs import workers
from app.services.quality import comparison_sources, kept_figures
from app.services.rounds import automatic_rounds, loop_overview, page_verdicts
from app.services.rounds.automatic_rounds import AutomaticStatus
from app.services.rounds.loop_overview import Attention, Loop
from app.web import addresses, automatic_words, climb_view, next_step_words, verdict_words
from app.web.climb_view import ClimbView
from app.web.deps import LabelerAccess, LeadAccess, ProjectAccess
from app.web.next_step_parts import NextStepWords
from app.web.render import redirect, render
from app.web.verdict_words import VerdictWords

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class AttentionItem:
    """Something to check, with a link to where it can be checked."""

    text: str
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """The verdict, the loop, the next step in words, and the workers that are alive."""

    project: Project
    verdict: VerdictWords
    loop: Loop
    next: NextStepWords
    attention: tuple[AttentionItem, ...]
    alive: list[WorkerHeartbeat]
    as_of: datetime | None  # of figures that newer judgments are not in yet
    base: ChosenBase | None  # that rounds build on
    sources: int  # of the responses in comparisons
    exports: int  # that are ready
    automatic: str = ""  # what the next automatic round waits for; empty if rounds are launched

    @property
    def climb(self) -> ClimbView:
        """The climb over the rounds."""
        return climb_view.view(self.loop.climb, self.project)

    @property
    def shows_training(self) -> bool:
        """Whether models are trained here, or a round is under way in spite of another goal."""
        return self.project.trains or self.loop.next.round is not None

    @property
    def is_evaluating(self) -> bool:
        """Whether people are judging the new policy against the previous one."""
        round_ = self.loop.round
        return round_ is not None and round_.state == RoundState.EVALUATING


@router.get("/p/{slug}")
def show(request: Request, access: LabelerAccess) -> Response:
    """Show the project; a labeler who opens its address goes to the queue."""
    if not access.is_lead:
        return redirect(request, addresses.path("label.show", slug=access.project.slug))
    return render(request, "overview/page.html", _page(access))


@router.get("/p/{slug}/overview/live")
def live(request: Request, access: LeadAccess) -> Response:
    """Return the part of the page that refreshes itself."""
    return render(request, "overview/_live.html", _page(access), fragment=True)


def _page(access: ProjectAccess) -> OverviewPage:
    session, project = access.session, access.project
    loop = loop_overview.of_project(session, project)
    moment = now(session)
    automatic = automatic_rounds.status(session, project)
    step = next_step_words.words(project, loop.next)
    verdict = page_verdicts.of_project(session, project, loop.next)
    return OverviewPage(
        project,
        verdict_words.words(verdict, project.slug, step),
        loop,
        step,
        (*_stopped(project, automatic), *_attention_items(project, loop.attention)),
        [worker for worker in workers.listed(session) if workers.is_alive(worker, moment)],
        kept_figures.as_of(session),
        base_models.in_use(session, project),
        0 if project.trains else comparison_sources.count(session, project.id),
        exports.count_ready(session, project.id),
        automatic_words.sentence(automatic) if automatic.is_on else "",
    )


def _stopped(project: Project, automatic: AutomaticStatus) -> Iterator[AttentionItem]:
    """Yield what has stopped automatic rounds, unless a person paused them."""
    if automatic.paused_at is not None and not automatic.paused_by:
        url = addresses.path("automatic_rounds.show", slug=project.slug)
        yield AttentionItem(f"Automatic rounds stopped: {automatic.pause_reason}", "Check", url)


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
        url = f"{agreement}#remarks-{labeler}"
        items.append(AttentionItem(f"{labeler} {remark}", "Check", url))
    return tuple(items)

"""Rounds: planning and launching one, watching it, and deciding it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Form, Query, Request, Response

from app.domain.allowed_servers import AllowedServers
from app.domain.gate_policies import Gate
from app.domain.win_rates import EvaluationResults
from app.errors import AttuneError
from app.models import Round
from app.services.rounds import (
    automatic_rounds,
    evaluations,
    gate_decisions,
    job_control,
    launch_plans,
    next_plan,
    round_progress,
    rounds,
)
from app.web import addresses, automatic_words, launch_page
from app.web.deps import LeadAccess, ProjectAccess, Servers
from app.web.launch_form import LaunchForm
from app.web.launch_page import LaunchPage
from app.web.render import redirect, render
from app.web.rounds_live import RoundPage, round_page
from app.web.row_ids import RowId

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class RoundsPage:
    """The rounds, newest first; `results` of complete evaluations by the number of the round."""

    overviews: list[round_progress.RoundOverview]
    is_live: bool
    results: dict[int, EvaluationResults]
    automatic: str  # what the next automatic round waits for


@router.get("/p/{slug}/rounds")
def show_all(request: Request, access: LeadAccess) -> Response:
    """List the rounds."""
    listed = round_progress.of_project(access.session, access.project.id)
    overviews = [round_progress.overview(access.session, round_) for round_ in listed]
    is_live = round_progress.current(access.session, access.project.id) is not None
    results = {
        one.round.number: evaluations.results(access.session, one.evaluation)
        for one in overviews
        if one.evaluation is not None and one.evaluation.state == evaluations.COMPLETE
    }
    automatic = automatic_words.sentence(automatic_rounds.status(access.session, access.project))
    page = RoundsPage(overviews, is_live, results, automatic)
    return render(request, "rounds/page.html", page)


@router.get("/p/{slug}/rounds/new")
def new(
    request: Request, access: LeadAccess, servers: Servers, form: Annotated[LaunchForm, Query()]
) -> Response:
    """Show the form, with the number of steps of its plan."""
    return render(request, "rounds/new.html", _launch_page(access, servers, form))


@router.get("/p/{slug}/rounds/new/steps")
def count_steps(
    request: Request, access: LeadAccess, servers: Servers, form: Annotated[LaunchForm, Query()]
) -> Response:
    """Return the number of steps of a plan while the form is being filled in."""
    return render(request, "rounds/_steps.html", _launch_page(access, servers, form), fragment=True)


@router.post("/p/{slug}/rounds/new")
def launch(
    request: Request, access: LeadAccess, servers: Servers, form: Annotated[LaunchForm, Form()]
) -> Response:
    """Launch the round, or only recalculate its steps."""
    if form.count:
        return render(request, "rounds/new.html", _launch_page(access, servers, form))
    try:
        with access.session.begin_nested():
            data = launch_plans.data_of(access.session, access.project)
            before = next_plan.of_project(access.session, access.project, None, data)
            plan = form.chosen_plan(before, data)
            made = rounds.launch(access.session, access.project, plan, access.user.id, servers)
    except AttuneError as error:
        page = _launch_page(access, servers, form, str(error))
        return render(request, "rounds/new.html", page, status=422)
    return redirect(request, _url(access, made), notice=f"Round {made.number} has started.")


@router.get("/p/{slug}/rounds/{number}")
def show(request: Request, access: LeadAccess, number: RowId) -> Response:
    """Show a round."""
    return render(request, "rounds/round.html", _live(access, number))


@router.get("/p/{slug}/rounds/{number}/live")
def live(request: Request, access: LeadAccess, number: RowId) -> Response:
    """Return the part of the page that refreshes itself."""
    return render(request, "rounds/_live.html", _live(access, number), fragment=True)


@router.post("/p/{slug}/rounds/{number}/stop")
def stop(request: Request, access: LeadAccess, number: RowId) -> Response:
    """Stop the running job at its next step and keep its best model."""
    page = _live(access, number)
    if page.job is None:
        return _refused(request, page, "this round has no running job")
    try:
        job_control.apply(
            access.session,
            page.job.id,
            "stop",
            actor_id=access.user.id,
            project_id=access.project.id,
        )
    except AttuneError as error:
        return _refused(request, page, str(error))
    notice = "Training stops at the next step and keeps the best model so far."
    return redirect(request, _url(access, page.round), notice=notice)


@router.post("/p/{slug}/rounds/{number}/finish")
def finish(request: Request, access: LeadAccess, number: RowId) -> Response:
    """Stop collecting judgments and continue with those made so far."""
    return _act(
        request,
        access,
        number,
        lambda round_: rounds.finish_labeling(access.session, round_, actor_id=access.user.id),
        "Labeling has ended; the round continues with the judgments made so far.",
    )


@router.post("/p/{slug}/rounds/{number}/retry")
def retry(request: Request, access: LeadAccess, number: RowId, remedy: str = "") -> Response:
    """Retry the stage in which the round failed, as it was or with a proposed change."""
    return _act(
        request,
        access,
        number,
        lambda round_: gate_decisions.retry(
            access.session, round_, remedy, actor_id=access.user.id
        ),
        "The stage is being retried.",
    )


@router.post("/p/{slug}/rounds/{number}/checks/{gate}/remedies/{remedy}")
def take_remedy(
    request: Request,
    access: LeadAccess,
    number: RowId,
    gate: Gate,
    remedy: str,
    note: Annotated[str, Form()] = "",
) -> Response:
    """Change the plan as a check proposes, and go on."""
    return _act(
        request,
        access,
        number,
        lambda round_: gate_decisions.take(
            access.session, round_, gate, remedy, note=note, actor_id=access.user.id
        ),
        "The plan has been changed; the round continues.",
    )


@router.post("/p/{slug}/rounds/{number}/checks/{gate}/override")
def override(
    request: Request,
    access: LeadAccess,
    number: RowId,
    gate: Gate,
    note: Annotated[str, Form()] = "",
) -> Response:
    """Go on although a check has failed."""
    return _act(
        request,
        access,
        number,
        lambda round_: gate_decisions.override(
            access.session, round_, gate, note=note, actor_id=access.user.id
        ),
        "The check is overridden, which the cards of this round’s models say.",
    )


@router.post("/p/{slug}/rounds/{number}/cancel")
def cancel(
    request: Request, access: LeadAccess, number: RowId, reason: Annotated[str, Form()] = ""
) -> Response:
    """End the round without a decision."""
    return _act(
        request,
        access,
        number,
        lambda round_: rounds.cancel(
            access.session, round_, reason=reason, actor_id=access.user.id
        ),
        f"Round {number} is cancelled.",
    )


@router.post("/p/{slug}/rounds/{number}/decide")
def decide(
    request: Request,
    access: LeadAccess,
    number: RowId,
    promote: Annotated[bool, Form()],
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Promote the new policy, or keep the previous one."""
    return _act(
        request,
        access,
        number,
        lambda round_: rounds.decide(
            access.session, round_, promote=promote, reason=reason, actor_id=access.user.id
        ),
        "The new policy is now current." if promote else "The previous policy stays current.",
    )


def _act(
    request: Request,
    access: ProjectAccess,
    number: int,
    action: Callable[[Round], object],
    notice: str,
) -> Response:
    """Do something to a round and go back to it, or show why it cannot be done."""
    round_ = round_progress.get(access.session, access.project.id, number)
    try:
        with access.session.begin_nested():
            action(round_)
    except AttuneError as error:
        return _refused(request, _live(access, round_.number), str(error))
    return redirect(request, _url(access, round_), notice=notice)


def _refused(request: Request, page: RoundPage, error: str) -> Response:
    return render(request, "rounds/round.html", replace(page, error=error), status=409)


def _live(access: ProjectAccess, number: int) -> RoundPage:
    round_ = round_progress.get(access.session, access.project.id, number)
    return round_page(access.session, access.project, round_)


def _launch_page(
    access: ProjectAccess, servers: AllowedServers, form: LaunchForm, error: str = ""
) -> LaunchPage:
    return launch_page.page_of(
        access.session, access.project, access.user.id, servers, form, error=error
    )


def _url(access: ProjectAccess, round_: Round) -> str:
    return addresses.path("rounds.show", slug=access.project.slug, number=round_.number)

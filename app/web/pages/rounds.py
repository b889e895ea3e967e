"""Rounds: launching one with its steps counted, watching it, deciding it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from sqlalchemy.orm import Session

from app.domain.plan import Algorithm, Engine, RoundPlan
from app.errors import AttuneError
from app.models import Project, Round, Split
from app.services.project import prompts
from app.services.rounds import job_control, readiness, round_progress, rounds
from app.services.rounds.readiness import Preview
from app.web.deps import LeadAccess, ProjectAccess
from app.web.launch_form import LaunchForm
from app.web.render import redirect, render
from app.web.rounds_live import LivePage, live_page

router = APIRouter(include_in_schema=False)

KL_HELP = (
    "Raising it keeps the policy closer to the model that only imitates, so it changes less; "
    "lowering it lets the policy chase the reward further, and sooner into what only looks good."
)
ALGORITHMS = (
    (str(Algorithm.PPO), "PPO"),
    (str(Algorithm.RLOO), "RLOO"),
    (str(Algorithm.BEST_OF_N), "Best of n"),
    (str(Algorithm.DPO), "DPO"),
)
ALGORITHM_HELP = (
    "PPO and RLOO practise against the reward; RLOO compares answers to one prompt and needs no "
    "value model. Best of n imitates the best answers. DPO learns from the judgments themselves."
)
ENGINES = (
    (str(Engine.STATIC), "in batches of like length"),
    (str(Engine.CONTINUOUS), "by continuous batching"),
)


@dataclass(frozen=True, slots=True)
class RoundsPage:
    """The rounds, newest first, with their numbers side by side."""

    overviews: list[round_progress.RoundOverview]
    is_live: bool


@dataclass(frozen=True, slots=True)
class LaunchPage:
    """The form, what its plan comes to, and what stands in its way.

    `problems` are those that a field has by itself, under its name.
    """

    form: LaunchForm
    number: int
    project: Project
    preview: Preview | None
    needs_sft: bool
    policy_prompts: int
    error: str = ""
    kl_help: str = KL_HELP
    algorithms: Sequence[tuple[str, str]] = ALGORITHMS
    algorithm_help: str = ALGORITHM_HELP
    engines: Sequence[tuple[str, str]] = ENGINES
    problems: Mapping[str, str] = field(default_factory=dict)


@router.get("/p/{slug}/rounds")
def show_all(request: Request, access: LeadAccess) -> Response:
    """List the rounds."""
    found = round_progress.of_project(access.session, access.project.id)
    overviews = [round_progress.overview(access.session, one) for one in found]
    is_live = round_progress.current(access.session, access.project.id) is not None
    return render(request, "rounds/page.html", RoundsPage(overviews, is_live))


@router.get("/p/{slug}/rounds/new")
def new(request: Request, access: LeadAccess, form: Annotated[LaunchForm, Query()]) -> Response:
    """Show the form, with the steps that its plan comes to."""
    return render(request, "rounds/new.html", _launch_page(access, form))


@router.get("/p/{slug}/rounds/new/steps")
def count_steps(
    request: Request, access: LeadAccess, form: Annotated[LaunchForm, Query()]
) -> Response:
    """Give the steps that a plan comes to, while it is being typed."""
    return render(request, "rounds/_steps.html", _launch_page(access, form), fragment=True)


@router.post("/p/{slug}/rounds/new")
def launch(request: Request, access: LeadAccess, form: Annotated[LaunchForm, Form()]) -> Response:
    """Launch the round, or only count its steps again."""
    if form.count:
        return render(request, "rounds/new.html", _launch_page(access, form))
    try:
        with access.session.begin_nested():
            plan = form.plan(_before(access.session, access.project))
            made = rounds.launch(access.session, access.project, plan, access.user.id)
    except AttuneError as error:
        page = _launch_page(access, form, str(error))
        return render(request, "rounds/new.html", page, status=422)
    return redirect(request, _url(access, made), notice=f"Round {made.number} has begun.")


@router.get("/p/{slug}/rounds/{number}")
def show(request: Request, access: LeadAccess, number: int) -> Response:
    """Show a round."""
    return render(request, "rounds/round.html", _live(access, number))


@router.get("/p/{slug}/rounds/{number}/live")
def live(request: Request, access: LeadAccess, number: int) -> Response:
    """Give the part of a round's page that refreshes itself."""
    return render(request, "rounds/_live.html", _live(access, number), fragment=True)


@router.post("/p/{slug}/rounds/{number}/stop")
def stop(request: Request, access: LeadAccess, number: int) -> Response:
    """Ask the running job to end now and keep the best it has."""
    found = _live(access, number)
    if found.job is None:
        return _refused(request, found, "nothing of this round is running")
    try:
        job_control.apply(
            access.session,
            found.job.id,
            "stop",
            actor_id=access.user.id,
            project_id=access.project.id,
        )
    except AttuneError as error:
        return _refused(request, found, str(error))
    notice = "It stops at the next step and keeps the best so far."
    return redirect(request, _url(access, found.round), notice=notice)


@router.post("/p/{slug}/rounds/{number}/finish")
def finish(request: Request, access: LeadAccess, number: int) -> Response:
    """Ask for no more judgments and go on with those that are in."""
    found = round_progress.get(access.session, access.project.id, number)
    return _act(
        request,
        access,
        found,
        lambda: rounds.finish_labeling(access.session, found, actor_id=access.user.id),
        "No more judgments are asked for; the round goes on with what there is.",
    )


@router.post("/p/{slug}/rounds/{number}/retry")
def retry(request: Request, access: LeadAccess, number: int) -> Response:
    """Try the stage again in which the round failed."""
    found = round_progress.get(access.session, access.project.id, number)
    return _act(
        request,
        access,
        found,
        lambda: rounds.retry(access.session, found, actor_id=access.user.id),
        "The stage is tried again.",
    )


@router.post("/p/{slug}/rounds/{number}/cancel")
def cancel(
    request: Request, access: LeadAccess, number: int, reason: Annotated[str, Form()] = ""
) -> Response:
    """End the round without a decision."""
    found = round_progress.get(access.session, access.project.id, number)
    return _act(
        request,
        access,
        found,
        lambda: rounds.cancel(access.session, found, reason=reason, actor_id=access.user.id),
        f"Round {number} is cancelled.",
    )


@router.post("/p/{slug}/rounds/{number}/decide")
def decide(
    request: Request,
    access: LeadAccess,
    number: int,
    promote: Annotated[bool, Form()],
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Promote the new policy, or hold the one before."""
    found = round_progress.get(access.session, access.project.id, number)
    return _act(
        request,
        access,
        found,
        lambda: rounds.decide(
            access.session, found, promote=promote, reason=reason, actor_id=access.user.id
        ),
        "The new policy is in force." if promote else "The policy before stays in force.",
    )


def _act(
    request: Request, access: ProjectAccess, found: Round, action: object, notice: str
) -> Response:
    assert callable(action)
    try:
        with access.session.begin_nested():
            action()
    except AttuneError as error:
        return _refused(request, _live(access, found.number), str(error))
    return redirect(request, _url(access, found), notice=notice)


def _refused(request: Request, page: LivePage, error: str) -> Response:
    return render(request, "rounds/round.html", replace(page, error=error), status=409)


def _live(access: ProjectAccess, number: int) -> LivePage:
    found = round_progress.get(access.session, access.project.id, number)
    return live_page(access.session, access.project, found)


def _launch_page(access: ProjectAccess, form: LaunchForm, error: str = "") -> LaunchPage:
    session, project = access.session, access.project
    before = _before(session, project)
    shown = form if form.asked else LaunchForm.of(before)
    preview, problem = None, ""
    try:
        plan = shown.plan(before)
        preview = readiness.preview(session, project, plan)
        readiness.check(session, project, plan)
    except AttuneError as found:
        problem = str(found)
    made = round_progress.of_project(session, project.id)
    return LaunchPage(
        shown,
        (made[0].number if made else 0) + 1,
        project,
        preview,
        project.sft_checkpoint_id is None,
        min(prompts.counts(session, project.id)[Split.TRAIN], shown.policy_prompts),
        error or problem,
        problems=shown.problems(before),
    )


def _before(session: Session, project: Project) -> RoundPlan:
    """Return the plan of the last round, which the next starts from."""
    made = round_progress.of_project(session, project.id)
    return RoundPlan.from_json(made[0].plan) if made else RoundPlan()


def _url(access: ProjectAccess, found: Round) -> str:
    return f"/p/{access.project.slug}/rounds/{found.number}"

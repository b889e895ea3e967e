"""Rounds: planning and launching one, watching it, and deciding it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from fastapi import Form, Query, Request, Response
from sqlalchemy.orm import Session

from app.domain.plan import Algorithm, Engine, RoundPlan
from app.domain.win_rates import EvaluationResults
from app.errors import AttuneError
from app.models import Judge, Project, Round, Split
from app.services.checkpoints import reward_models
from app.services.judging import judges
from app.services.project import prompts
from app.services.quality import weights_in_use
from app.services.quality.weights_in_use import WeightsInUse
from app.services.rounds import (
    evaluations,
    job_control,
    readiness,
    reward_checks,
    round_progress,
    rounds,
)
from app.services.rounds.readiness import Preview
from app.web import addresses, part_rows
from app.web.deps import LeadAccess, ProjectAccess
from app.web.judge_fields import JUDGED_BY
from app.web.launch_form import LaunchForm
from app.web.render import redirect, render
from app.web.rounds_live import RoundPage, round_page

router = addresses.page_router()

KL_HELP = (
    "How strongly the policy is held to the SFT model, usually 0.02 to 0.2: raise it if responses "
    "degrade while the reward rises, lower it if the policy hardly changes."
)
ALGORITHMS = (
    (str(Algorithm.PPO), "PPO"),
    (str(Algorithm.RLOO), "RLOO"),
    (str(Algorithm.BEST_OF_N), "Best of n"),
    (str(Algorithm.DPO), "DPO"),
)
ALGORITHM_HELP = (
    "PPO and RLOO optimize the reward; RLOO needs no value model. Best of n is fine-tuned on the "
    "highest-scoring responses. DPO learns from the judgments directly."
)
ENGINES = (
    (str(Engine.STATIC), "in batches of similar length"),
    (str(Engine.CONTINUOUS), "with continuous batching"),
)


@dataclass(frozen=True, slots=True)
class RoundsPage:
    """The rounds, newest first; `results` of complete evaluations by the number of the round."""

    overviews: list[round_progress.RoundOverview]
    is_live: bool
    results: dict[int, EvaluationResults]


@dataclass(frozen=True, slots=True)
class PartChoices:
    """What the rows of the rewards can be set to."""

    kinds: Sequence[tuple[str, str]] = part_rows.KINDS
    scores: Sequence[tuple[str, str]] = part_rows.SCORES
    reads: Sequence[tuple[str, str]] = part_rows.READS


@dataclass(frozen=True, slots=True)
class LaunchPage:
    """The form, the totals of its plan, and what prevents the launch.

    `problems` are the messages about single fields, by field name.
    """

    form: LaunchForm
    number: int
    project: Project
    preview: Preview | None
    needs_sft: bool
    policy_prompts: int
    in_use: WeightsInUse
    why_no_weights: str
    error: str = ""
    kl_help: str = KL_HELP
    algorithms: Sequence[tuple[str, str]] = ALGORITHMS
    algorithm_help: str = ALGORITHM_HELP
    engines: Sequence[tuple[str, str]] = ENGINES
    problems: Mapping[str, str] = field(default_factory=dict)
    judges: Sequence[Judge] = ()
    judged_by: Sequence[tuple[str, str]] = JUDGED_BY
    reward_models: Sequence[str] = ()
    part_choices: PartChoices = PartChoices()

    @property
    def judge_names(self) -> list[tuple[str, str]]:
        """The AI judges that can be named, as options of the form."""
        return [(judge.pseudonym, f"{judge.name} ({judge.pseudonym})") for judge in self.judges]

    @property
    def weights_help(self) -> str:
        """Where the labeler weights come from, and what changing them does."""
        if self.why_no_weights:
            return f"Clear them: {self.why_no_weights}."
        if self.in_use.weights:
            return (
                f"In use in the project since {self.in_use.since:%Y-%m-%d}; change or clear them "
                "for this round only. Labelers who are not named weigh 1."
            )
        return (
            "Such as L2 0.5, L3 1.4, for this round only; labelers who are not named weigh 1. "
            "Agreement, Labeler weights, proposes weights for every round."
        )


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
    return render(request, "rounds/page.html", RoundsPage(overviews, is_live, results))


@router.get("/p/{slug}/rounds/new")
def new(request: Request, access: LeadAccess, form: Annotated[LaunchForm, Query()]) -> Response:
    """Show the form, with the number of steps of its plan."""
    return render(request, "rounds/new.html", _launch_page(access, form))


@router.get("/p/{slug}/rounds/new/steps")
def count_steps(
    request: Request, access: LeadAccess, form: Annotated[LaunchForm, Query()]
) -> Response:
    """Return the number of steps of a plan while the form is being filled in."""
    return render(request, "rounds/_steps.html", _launch_page(access, form), fragment=True)


@router.post("/p/{slug}/rounds/new")
def launch(request: Request, access: LeadAccess, form: Annotated[LaunchForm, Form()]) -> Response:
    """Launch the round, or only recalculate its steps."""
    if form.count:
        return render(request, "rounds/new.html", _launch_page(access, form))
    try:
        with access.session.begin_nested():
            plan = form.plan(_before(access.session, access.project))
            made = rounds.launch(access.session, access.project, plan, access.user.id)
    except AttuneError as error:
        page = _launch_page(access, form, str(error))
        return render(request, "rounds/new.html", page, status=422)
    return redirect(request, _url(access, made), notice=f"Round {made.number} has started.")


@router.get("/p/{slug}/rounds/{number}")
def show(request: Request, access: LeadAccess, number: int) -> Response:
    """Show a round."""
    return render(request, "rounds/round.html", _live(access, number))


@router.get("/p/{slug}/rounds/{number}/live")
def live(request: Request, access: LeadAccess, number: int) -> Response:
    """Return the part of the page that refreshes itself."""
    return render(request, "rounds/_live.html", _live(access, number), fragment=True)


@router.post("/p/{slug}/rounds/{number}/stop")
def stop(request: Request, access: LeadAccess, number: int) -> Response:
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
def finish(request: Request, access: LeadAccess, number: int) -> Response:
    """Stop collecting judgments and continue with those made so far."""
    round_ = round_progress.get(access.session, access.project.id, number)
    return _act(
        request,
        access,
        round_,
        lambda: rounds.finish_labeling(access.session, round_, actor_id=access.user.id),
        "Labeling has ended; the round continues with the judgments made so far.",
    )


@router.post("/p/{slug}/rounds/{number}/retry")
def retry(request: Request, access: LeadAccess, number: int) -> Response:
    """Retry the stage in which the round failed."""
    round_ = round_progress.get(access.session, access.project.id, number)
    return _act(
        request,
        access,
        round_,
        lambda: rounds.retry(access.session, round_, actor_id=access.user.id),
        "The stage is being retried.",
    )


@router.post("/p/{slug}/rounds/{number}/cancel")
def cancel(
    request: Request, access: LeadAccess, number: int, reason: Annotated[str, Form()] = ""
) -> Response:
    """End the round without a decision."""
    round_ = round_progress.get(access.session, access.project.id, number)
    return _act(
        request,
        access,
        round_,
        lambda: rounds.cancel(access.session, round_, reason=reason, actor_id=access.user.id),
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
    """Promote the new policy, or keep the previous one."""
    round_ = round_progress.get(access.session, access.project.id, number)
    return _act(
        request,
        access,
        round_,
        lambda: rounds.decide(
            access.session, round_, promote=promote, reason=reason, actor_id=access.user.id
        ),
        "The new policy is now current." if promote else "The previous policy stays current.",
    )


def _act(
    request: Request, access: ProjectAccess, round_: Round, action: object, notice: str
) -> Response:
    assert callable(action)
    try:
        with access.session.begin_nested():
            action()
    except AttuneError as error:
        return _refused(request, _live(access, round_.number), str(error))
    return redirect(request, _url(access, round_), notice=notice)


def _refused(request: Request, page: RoundPage, error: str) -> Response:
    return render(request, "rounds/round.html", replace(page, error=error), status=409)


def _live(access: ProjectAccess, number: int) -> RoundPage:
    round_ = round_progress.get(access.session, access.project.id, number)
    return round_page(access.session, access.project, round_)


def _launch_page(access: ProjectAccess, form: LaunchForm, error: str = "") -> LaunchPage:
    session, project = access.session, access.project
    before = _before(session, project)
    shown = form if form.asked else LaunchForm.of(before)
    preview, problem = None, ""
    try:
        plan = shown.plan(before)
        preview = readiness.preview(session, project, plan)
        readiness.check(session, project, plan)
        reward_checks.check(session, project, plan.reward, access.user.id)
    except AttuneError as invalid:
        problem = str(invalid)
    made = round_progress.of_project(session, project.id)
    return LaunchPage(
        shown,
        (made[0].number if made else 0) + 1,
        project,
        preview,
        project.sft_checkpoint_id is None,
        min(prompts.counts(session, project.id)[Split.TRAIN], shown.policy_prompts),
        weights_in_use.of_project(session, project),
        weights_in_use.why_not(project),
        error or problem,
        problems=shown.problems(before),
        judges=[one for one in judges.of_project(session, project.id) if one.archived_at is None],
        reward_models=reward_models.readable(session, project.id, access.user.id),
    )


def _before(session: Session, project: Project) -> RoundPlan:
    """Return the plan of the last round with the project's labeler weights: the next one's base."""
    made = round_progress.of_project(session, project.id)
    plan = RoundPlan.from_json(made[0].plan) if made else RoundPlan()
    plan = replace(plan, chat=None)  # the project's, as they are now
    return weights_in_use.in_next(session, project, plan)


def _url(access: ProjectAccess, round_: Round) -> str:
    return addresses.path("rounds.show", slug=access.project.slug, number=round_.number)

"""Rounds: launching one, watching it, and deciding it."""

from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.domain import launch_sizes
from app.domain.gate_policies import Gate
from app.domain.gates.verdicts import PlanRemedy
from app.domain.launch_choice import ChoiceName
from app.models import Round
from app.services.jobs import jobs
from app.services.rounds import (
    evaluations,
    gate_decisions,
    gate_views,
    label_advice,
    launch_estimates,
    launch_plans,
    readiness,
    round_progress,
    rounds,
)
from app.services.rounds.gate_views import GateView
from app.web import overlap_words
from app.web.api.checkpoints import CheckpointOut, checkpoint_out
from app.web.api.jobs import JobOut
from app.web.deps import LeadAccess, Servers
from app.web.guarded_route import GuardedRoute
from app.web.row_ids import RowId

router = APIRouter(
    prefix="/api/v1/projects/{slug}/rounds", tags=["rounds"], route_class=GuardedRoute
)

PlanBody = Annotated[
    dict[str, Any],
    Body(
        description="Omitted settings have their defaults, or those of the choice: quick, "
        "balanced or thorough.",
        examples=[{"choice": "balanced", "candidates": 4, "policy": {"kl_coefficient": 0.1}}],
    ),
]


class RoundOut(BaseModel):
    """A round; an automatic one was not launched by a person."""

    number: int
    state: str
    reason: str
    is_automatic: bool
    plan: dict[str, Any]
    created_at: datetime
    ended_at: datetime | None


class LabelingOut(BaseModel):
    """Labeling progress, in judgments."""

    comparisons: int
    wanted: int
    done: int


class RemedyOut(BaseModel):
    """A change to the plan; `redo` is the stage that is then run again, or empty."""

    key: str
    label: str
    effect: str
    changes: dict[str, Any]
    redo: str

    @classmethod
    def of(cls, remedy: PlanRemedy) -> "RemedyOut":
        """Return a remedy as the API sends it."""
        return cls(
            key=remedy.key,
            label=remedy.label,
            effect=remedy.effect,
            changes=dict(remedy.changes),
            redo=str(remedy.redo or ""),
        )


class GateOut(BaseModel):
    """What a check between two stages said, and what was decided.

    `outcome` is passed, ignored, warned, waiting, cleared, overridden, remedied or moot.
    """

    gate: str
    title: str
    stage: str
    outcome: str
    measured: str
    needed: str
    reason: str
    figures: dict[str, Any]
    remedies: list[RemedyOut]
    remedy: str
    changes: dict[str, Any]
    note: str
    decided_by: str
    created_at: datetime
    decided_at: datetime | None

    @classmethod
    def of(cls, view: GateView) -> "GateOut":
        """Return a verdict as the API sends it; only one that waits has remedies."""
        row, verdict = view.row, view.verdict
        return cls(
            gate=row.gate,
            title=view.title,
            stage=row.stage,
            outcome=row.outcome,
            measured=verdict.figure,
            needed=verdict.needed,
            reason=verdict.reason if verdict.fires else "",
            figures=row.figures,
            remedies=[RemedyOut.of(each) for each in verdict.remedies] if view.is_waiting else [],
            remedy=row.remedy,
            changes=row.changes,
            note=row.note,
            decided_by=view.decided_by,
            created_at=row.created_at,
            decided_at=row.decided_at,
        )


class RoundDetail(RoundOut):
    """A round with its jobs, progress, evaluation, models and checks.

    `remedies` are changes of the plan that a failed round can be retried with.
    """

    gates: list[GateOut]
    remedies: list[RemedyOut]
    jobs: list[JobOut]
    labeling: LabelingOut
    evaluation_labeling: LabelingOut
    evaluation: dict[str, Any] | None
    checkpoints: list[CheckpointOut]


class Decision(BaseModel):
    """Promote or hold."""

    promote: bool
    reason: str = ""


class Reason(BaseModel):
    """Why a round is ended."""

    reason: str = ""


class Retry(BaseModel):
    """With which of the proposed changes a failed stage is retried; empty: as it was."""

    remedy: str = ""


class RemedyChoice(BaseModel):
    """The remedy to take, and a note for the record."""

    remedy: str
    note: str = ""


class Override(BaseModel):
    """A note for the record, which the cards of the round's models show."""

    note: str = ""


class SpendingOut(BaseModel):
    """Comparisons with so many judgments each: how often the majority is right, and information.

    `kept` is the share of the information that one judgment each would bring.
    """

    overlap: int
    comparisons: int
    accuracy: float
    bits: float
    kept: float


class OverlapAdviceOut(BaseModel):
    """Advice on a number of judgments.

    `verdict` is more_comparisons, more_labelers, no_more_comparisons or not_enough (for `reason`);
    `kept_low` and `kept_high` bound the share of the information that three judgments each keep.
    """

    verdict: str
    judgments: int
    comparisons_most: int
    agreement: float | None
    agreement_low: float | None
    agreement_high: float | None
    labeler_accuracy: float | None
    spendings: list[SpendingOut]
    kept_low: float | None
    kept_high: float | None
    reason: str
    sentence: str


Point = Annotated[
    list[int | float], Field(min_length=2, max_length=2, description="A step and a value.")
]
Curves = dict[str, dict[str, list[Point]]]


@router.post("", status_code=201)
def launch(access: LeadAccess, plan: PlanBody, servers: Servers) -> RoundDetail:
    """Start the next round."""
    settled = launch_plans.of_json(access.session, access.project, plan)
    made = rounds.launch(access.session, access.project, settled, access.user.id, servers)
    return _detail(access.session, made)


@router.post("/preview")
def preview(access: LeadAccess, plan: PlanBody) -> dict[str, Any]:
    """Return the steps, judgments and estimate of a plan without launching it."""
    settled = launch_plans.of_json(access.session, access.project, plan)
    data = launch_plans.data_of(access.session, access.project)
    counts = readiness.preview(access.session, access.project, settled, data)
    estimate = launch_estimates.of_plan(access.session, access.project, settled, counts)
    choice = None if settled.choice is None else asdict(settled.choice)
    return asdict(counts) | {"choice": choice, "estimate": asdict(estimate)}


@router.get("/choices")
def choices(access: LeadAccess) -> list[dict[str, Any]]:
    """Return the three choices of a launch, with what each would take in this project."""
    data = launch_plans.data_of(access.session, access.project)
    plan = launch_sizes.applied(ChoiceName.BALANCED, data)
    offers = launch_estimates.offers(
        access.session, access.project, data, plan, ChoiceName.BALANCED
    )
    return [asdict(offer) for offer in offers]


@router.get("/overlap-advice")
def advise_on_overlap(
    access: LeadAccess,
    judgments: Annotated[int, Query(ge=1, description="The budget for training.")],
    comparisons_most: Annotated[
        int | None, Query(ge=1, description="Distinct comparisons at most; no limit by default.")
    ] = None,
) -> OverlapAdviceOut | None:
    """Return whether more labelers per comparison or more comparisons are worth more.

    Null in projects whose labelers do not say which of two responses is better.
    """
    advice = label_advice.of_budget(
        access.session, access.project, judgments, comparisons_most or judgments
    )
    if advice is None:
        return None
    return OverlapAdviceOut(**asdict(advice), sentence=overlap_words.sentence(advice))


@router.get("")
def list_rounds(access: LeadAccess) -> list[RoundOut]:
    """Return the rounds, newest first."""
    listed = round_progress.of_project(access.session, access.project.id)
    return [_out(round_) for round_ in listed]


@router.get("/{number}")
def show(access: LeadAccess, number: RowId) -> RoundDetail:
    """Return a round with its jobs, progress, models and evaluation."""
    return _detail(access.session, round_progress.get(access.session, access.project.id, number))


@router.get("/{number}/metrics")
def metrics(access: LeadAccess, number: RowId, after_step: int = -1) -> Curves:
    """Return the metrics of the round's jobs, by kind and name, as pairs of step and value."""
    by_kind: Curves = {}
    round_ = round_progress.get(access.session, access.project.id, number)
    for job in round_progress.overview(access.session, round_).jobs:
        curves: dict[str, list[Point]] = defaultdict(list)
        for point in jobs.metrics(access.session, job.id, after_step=after_step):
            curves[point.name].append([point.step, point.value])
        by_kind[job.kind] = dict(curves)
    return by_kind


@router.post("/{number}/decide")
def decide(access: LeadAccess, number: RowId, decision: Decision) -> RoundDetail:
    """Promote the new policy, or keep the previous one."""
    round_ = round_progress.get(access.session, access.project.id, number)
    rounds.decide(
        access.session,
        round_,
        promote=decision.promote,
        reason=decision.reason,
        actor_id=access.user.id,
    )
    return _detail(access.session, round_)


@router.post("/{number}/finish-labeling")
def finish_labeling(access: LeadAccess, number: RowId) -> RoundDetail:
    """Stop collecting judgments and continue with those made so far."""
    round_ = round_progress.get(access.session, access.project.id, number)
    rounds.finish_labeling(access.session, round_, actor_id=access.user.id)
    return _detail(access.session, round_)


@router.post("/{number}/cancel")
def cancel(access: LeadAccess, number: RowId, reason: Reason) -> RoundDetail:
    """End the round without a decision."""
    round_ = round_progress.get(access.session, access.project.id, number)
    rounds.cancel(access.session, round_, reason=reason.reason, actor_id=access.user.id)
    return _detail(access.session, round_)


@router.post("/{number}/retry")
def retry(access: LeadAccess, number: RowId, choice: Retry | None = None) -> RoundDetail:
    """Retry the stage that failed, as it was or with one of the proposed changes."""
    round_ = round_progress.get(access.session, access.project.id, number)
    remedy = choice.remedy if choice is not None else ""
    gate_decisions.retry(access.session, round_, remedy, actor_id=access.user.id)
    return _detail(access.session, round_)


@router.post("/{number}/gates/{gate}/remedy")
def take_remedy(access: LeadAccess, number: RowId, gate: Gate, choice: RemedyChoice) -> RoundDetail:
    """Change the plan of a round that waits at a check, by one of the check's remedies."""
    round_ = round_progress.get(access.session, access.project.id, number)
    gate_decisions.take(
        access.session,
        round_,
        gate,
        choice.remedy,
        note=choice.note,
        actor_id=access.user.id,
    )
    return _detail(access.session, round_)


@router.post("/{number}/gates/{gate}/override")
def override(
    access: LeadAccess, number: RowId, gate: Gate, choice: Override | None = None
) -> RoundDetail:
    """Let a round continue although a check has failed."""
    round_ = round_progress.get(access.session, access.project.id, number)
    note = choice.note if choice is not None else ""
    gate_decisions.override(access.session, round_, gate, note=note, actor_id=access.user.id)
    return _detail(access.session, round_)


def _out(round_: Round) -> RoundOut:
    return RoundOut(
        number=round_.number,
        state=round_.state,
        reason=round_.reason,
        is_automatic=round_.is_automatic,
        plan=round_.plan,
        created_at=round_.created_at,
        ended_at=round_.ended_at,
    )


def _detail(session: Session, round_: Round) -> RoundDetail:
    overview = round_progress.overview(session, round_)
    results = None
    if overview.evaluation is not None:
        results = evaluations.results(session, overview.evaluation).to_json()
        results["state"] = overview.evaluation.state
    return RoundDetail(
        **_out(round_).model_dump(),
        jobs=[JobOut.of(job) for job in overview.jobs],
        labeling=LabelingOut(**asdict(overview.labeling)),
        evaluation_labeling=LabelingOut(**asdict(overview.evaluation_labeling)),
        evaluation=results,
        checkpoints=[checkpoint_out(checkpoint) for checkpoint in overview.checkpoints],
        gates=[GateOut.of(view) for view in gate_views.of_round(session, round_)],
        remedies=[RemedyOut.of(each) for each in gate_decisions.proposals(session, round_)],
    )

"""Rounds: launching one, watching it, and deciding it."""

from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.domain.plan import RoundPlan
from app.models import Round
from app.services.jobs import jobs
from app.services.rounds import evaluations, readiness, round_progress, rounds
from app.web.api.checkpoints import CheckpointOut, checkpoint_out
from app.web.api.jobs import JobOut
from app.web.deps import LeadAccess

router = APIRouter(prefix="/api/v1/projects/{slug}/rounds", tags=["rounds"])

PlanBody = Annotated[
    dict[str, Any],
    Body(
        description="Omitted settings have their defaults.",
        examples=[{"prompts": 400, "candidates": 4, "policy": {"kl_coefficient": 0.1}}],
    ),
]


class RoundOut(BaseModel):
    """A round."""

    number: int
    state: str
    reason: str
    plan: dict[str, Any]
    created_at: datetime
    ended_at: datetime | None


class LabelingOut(BaseModel):
    """Labeling progress, in judgments."""

    comparisons: int
    wanted: int
    done: int


class RoundDetail(RoundOut):
    """A round with its jobs, progress, evaluation and models."""

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


Curves = dict[str, dict[str, list[tuple[int, float]]]]


@router.post("", status_code=201)
def launch(access: LeadAccess, plan: PlanBody) -> RoundDetail:
    """Start the next round."""
    made = rounds.launch(access.session, access.project, RoundPlan.from_json(plan), access.user.id)
    return _detail(access.session, made)


@router.post("/preview")
def preview(access: LeadAccess, plan: PlanBody) -> dict[str, Any]:
    """Return the steps and judgments of a plan without launching it."""
    return asdict(readiness.preview(access.session, access.project, RoundPlan.from_json(plan)))


@router.get("")
def list_rounds(access: LeadAccess) -> list[RoundOut]:
    """Return the rounds, newest first."""
    listed = round_progress.of_project(access.session, access.project.id)
    return [_out(round_) for round_ in listed]


@router.get("/{number}")
def show(access: LeadAccess, number: int) -> RoundDetail:
    """Return a round with its jobs, progress, models and evaluation."""
    return _detail(access.session, round_progress.get(access.session, access.project.id, number))


@router.get("/{number}/metrics")
def metrics(access: LeadAccess, number: int, after_step: int = -1) -> Curves:
    """Return the metrics of the round's jobs, by kind and name, as pairs of step and value."""
    by_kind: Curves = {}
    round_ = round_progress.get(access.session, access.project.id, number)
    for job in round_progress.overview(access.session, round_).jobs:
        curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for point in jobs.metrics(access.session, job.id, after_step=after_step):
            curves[point.name].append((point.step, point.value))
        by_kind[job.kind] = dict(curves)
    return by_kind


@router.post("/{number}/decide")
def decide(access: LeadAccess, number: int, decision: Decision) -> RoundDetail:
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
def finish_labeling(access: LeadAccess, number: int) -> RoundDetail:
    """Stop collecting judgments and continue with those made so far."""
    round_ = round_progress.get(access.session, access.project.id, number)
    rounds.finish_labeling(access.session, round_, actor_id=access.user.id)
    return _detail(access.session, round_)


@router.post("/{number}/cancel")
def cancel(access: LeadAccess, number: int, reason: Reason) -> RoundDetail:
    """End the round without a decision."""
    round_ = round_progress.get(access.session, access.project.id, number)
    rounds.cancel(access.session, round_, reason=reason.reason, actor_id=access.user.id)
    return _detail(access.session, round_)


@router.post("/{number}/retry")
def retry(access: LeadAccess, number: int) -> RoundDetail:
    """Retry the stage that failed."""
    round_ = round_progress.get(access.session, access.project.id, number)
    rounds.retry(access.session, round_, actor_id=access.user.id)
    return _detail(access.session, round_)


def _out(round_: Round) -> RoundOut:
    return RoundOut(
        number=round_.number,
        state=round_.state,
        reason=round_.reason,
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
    )

"""Rounds: launch, watch, decide."""

from collections import defaultdict
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.domain.plan import RoundPlan
from app.models import Job, Round
from app.services.jobs import jobs
from app.services.rounds import evaluations, readiness, round_progress, rounds
from app.web.api.checkpoints import CheckpointOut, checkpoint_out
from app.web.deps import LeadAccess

router = APIRouter(prefix="/api/v1/projects/{slug}/rounds", tags=["rounds"])

PlanBody = Annotated[
    dict[str, Any],
    Body(
        description="What is left out has its default.",
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


class JobOut(BaseModel):
    """A job of a round."""

    id: int
    kind: str
    state: str
    progress_done: int
    progress_total: int
    progress_note: str
    error: str
    result: dict[str, Any]


class LabelingOut(BaseModel):
    """How far people are."""

    comparisons: int
    wanted: int
    done: int


class RoundDetail(RoundOut):
    """A round with all that hangs on it."""

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
    """Count what a plan comes to, without launching it."""
    return asdict(readiness.preview(access.session, access.project, RoundPlan.from_json(plan)))


@router.get("")
def list_rounds(access: LeadAccess) -> list[RoundOut]:
    """Return the rounds, newest first."""
    return [_out(each) for each in round_progress.of_project(access.session, access.project.id)]


@router.get("/{number}")
def show(access: LeadAccess, number: int) -> RoundDetail:
    """Return a round with its jobs, progress, models and evaluation."""
    return _detail(access.session, round_progress.get(access.session, access.project.id, number))


@router.get("/{number}/metrics")
def metrics(access: LeadAccess, number: int, after_step: int = -1) -> Curves:
    """Return the curves of the round's jobs: kind, name, and points of step and value."""
    found: Curves = {}
    round_ = round_progress.get(access.session, access.project.id, number)
    for job in round_progress.overview(access.session, round_).jobs:
        curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for point in jobs.metrics(access.session, job.id, after_step=after_step):
            curves[point.name].append((point.step, point.value))
        found[job.kind] = dict(curves)
    return found


@router.post("/{number}/decide")
def decide(access: LeadAccess, number: int, decision: Decision) -> RoundDetail:
    """Promote the new policy, or hold the old one."""
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
    """Go on with the judgments that are there."""
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
    """Try the stage again that failed."""
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
    found = round_progress.overview(session, round_)
    results = None
    if found.evaluation is not None:
        results = evaluations.results(session, found.evaluation).to_json()
        results["state"] = found.evaluation.state
    return RoundDetail(
        **_out(round_).model_dump(),
        jobs=[_job_out(job) for job in found.jobs],
        labeling=LabelingOut(**asdict(found.labeling)),
        evaluation_labeling=LabelingOut(**asdict(found.evaluation_labeling)),
        evaluation=results,
        checkpoints=[checkpoint_out(each) for each in found.checkpoints],
    )


def _job_out(job: Job) -> JobOut:
    return JobOut(
        id=job.id,
        kind=job.kind,
        state=job.state,
        progress_done=job.progress_done,
        progress_total=job.progress_total,
        progress_note=job.progress_note,
        error=job.error,
        result=job.result,
    )

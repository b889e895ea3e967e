"""The jobs of a round's stages: which kind does a stage, and the one that does it now.

A job's natural key makes it exist once; a stage that is redone with another plan gets a new one.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.models import Job, Round
from app.services.jobs import jobs
from app.services.rounds import gates, judge_jobs

KINDS: Mapping[RoundState, str] = {
    RoundState.SFT: "sft",
    RoundState.GENERATING: "generate",
    RoundState.REWARD: "reward",
    RoundState.POLICY: "policy",
    RoundState.EVALUATING: "evaluate",
}
"""The kind of job that does a stage; stages not named wait for people."""


def current(session: Session, round_: Round, stage: RoundState) -> Job | None:
    """Return the job that does a stage, if it has been enqueued."""
    return jobs.by_natural_key(session, key(session, round_, stage))


def ensure(session: Session, round_: Round) -> None:
    """Enqueue the job of a round's stage, if it has one and it is not there yet."""
    stage = RoundState(round_.state)
    if stage is RoundState.LABELING:
        judge_jobs.label_round(session, round_)
    if stage not in KINDS:
        return
    jobs.enqueue(
        session,
        kind=KINDS[stage],
        queue="gpu",
        payload=_payload(round_),
        project_id=round_.project_id,
        round_id=round_.id,
        natural_key=key(session, round_, stage),
        created_by_id=round_.created_by_id,
    )


def key(session: Session, round_: Round, stage: RoundState) -> str:
    """Return the natural key of the job that does a stage now."""
    redone = gates.times_redone(session, round_.id, stage)
    return f"round-{round_.id}-{KINDS[stage]}" + (f"-{redone + 1}" if redone else "")


def stage_of(session: Session, round_: Round, job: Job) -> RoundState:
    """Return the stage that a job of a round belongs to."""
    if job.kind == judge_jobs.KIND:
        is_labeling = job.natural_key == judge_jobs.round_key(session, round_)
        return RoundState.LABELING if is_labeling else RoundState.EVALUATING
    return next(stage for stage, kind in KINDS.items() if kind == job.kind)


def _payload(round_: Round) -> dict[str, Any]:
    processes = RoundPlan.from_json(round_.plan).processes
    asked = {} if processes is None else {"processes": processes}
    return {"round_id": round_.id} | asked

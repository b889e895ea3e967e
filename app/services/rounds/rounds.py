"""Rounds of the loop: launched with a plan, moved on by `advance`, decided by a person.

`advance` is the one place that says what comes next. It is called after the last judgment and at
the end of every job of a round, may be called at any time and by several at once, and does nothing
where there is nothing to do: the round's row is locked, and jobs carry natural keys.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.chat_settings import ChatSettings
from app.domain.plan import RoundPlan
from app.domain.states import LIVE_ROUND_STATES, OVER_JOB_STATES, JobState, RoundState, move
from app.domain.states import ROUND_MOVES as MOVES
from app.errors import Conflict, NotFound
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Job,
    Project,
    Purpose,
    Round,
)
from app.services.checkpoints import checkpoints
from app.services.jobs import jobs
from app.services.people import audit
from app.services.quality import weights_in_use
from app.services.queue import comparisons
from app.services.rounds import evaluations, judge_jobs, readiness, reward_checks
from app.services.rounds.round_progress import (
    current,
    is_labeled,
    jobs_of,
)

FEW_LEFT = 50

STAGE_JOBS: Mapping[RoundState, str] = {
    RoundState.SFT: "sft",
    RoundState.GENERATING: "generate",
    RoundState.REWARD: "reward",
    RoundState.POLICY: "policy",
    RoundState.EVALUATING: "evaluate",
}
"""The kind of job that does a stage; stages not named wait for people."""

AFTER: Mapping[RoundState, RoundState] = {
    RoundState.GENERATING: RoundState.LABELING,
    RoundState.LABELING: RoundState.REWARD,
    RoundState.REWARD: RoundState.POLICY,
    RoundState.POLICY: RoundState.EVALUATING,
    RoundState.EVALUATING: RoundState.DECIDING,
}


def launch(session: Session, project: Project, plan: RoundPlan, created_by_id: int | None) -> Round:
    """Start the next round of a project, with its labeler weights unless the plan has its own.

    Raises:
        Conflict: a round of the project is not over yet.
        Invalid: something that the plan needs is not there.
    """
    session.get(Project, project.id, with_for_update=True, populate_existing=True)
    live = current(session, project.id)
    if live is not None:
        raise Conflict(f"round {live.number} is {live.state}; end it before the next is launched")
    plan = weights_in_use.in_plan(session, project, plan)
    if plan.chat is None:
        plan = replace(plan, chat=ChatSettings.from_json(project.chat))
    readiness.check(session, project, plan)
    plan = readiness.carried_out(session, project, plan)
    reward_checks.check(session, project, plan.reward, created_by_id)
    number = session.scalar(select(func.max(Round.number)).where(Round.project_id == project.id))
    round_ = Round(
        project_id=project.id,
        number=(number or 0) + 1,
        state=RoundState.PLANNED,
        plan=plan.to_json(),
        created_by_id=created_by_id,
        created_at=now(session),
    )
    session.add(round_)
    session.flush()
    audit.record(
        session,
        "round.launch",
        f"round {round_.number}",
        actor_id=created_by_id,
        project_id=project.id,
        details=round_.plan,
    )
    advance(session, round_.id)
    return round_


def advance(session: Session, round_id: int) -> None:
    """Move a round as far as it can go, and put in the job that its stage needs.

    Raises:
        NotFound: there is no such round.
    """
    round_ = _locked(session, round_id)
    state = _next(session, round_)
    while state is not None:
        _enter(session, round_, state)
        state = _next(session, round_)
    _ensure_job(session, round_)
    session.flush()


def decide(
    session: Session, round_: Round, *, promote: bool, reason: str, actor_id: int | None
) -> None:
    """Promote the round's policy, or hold the one before; the decision is recorded.

    Raises:
        Conflict: the round is not at the point of decision.
    """
    round_ = _locked(session, round_.id)
    state = RoundState.PROMOTED if promote else RoundState.HELD
    _move(round_, state)
    round_.reason = reason.strip()
    round_.ended_at = now(session)
    if promote:
        project = _project(session, round_)
        project.policy_checkpoint_id = round_.policy_checkpoint_id
    session.flush()
    audit.record(
        session,
        "round.promote" if promote else "round.hold",
        f"round {round_.number}",
        actor_id=actor_id,
        project_id=round_.project_id,
        details={"reason": round_.reason, "checkpoint_id": round_.policy_checkpoint_id},
    )


def cancel(session: Session, round_: Round, *, reason: str, actor_id: int | None) -> None:
    """End a round without a decision: no job goes on, and labelers are asked for nothing more.

    Raises:
        Conflict: the round is over.
    """
    round_ = _locked(session, round_.id)
    _move(round_, RoundState.CANCELLED)
    round_.reason = reason.strip()
    round_.ended_at = now(session)
    for job in jobs_of(session, round_.id):
        if job.state not in OVER_JOB_STATES:
            jobs.cancel(session, job.id, actor_id=actor_id)
    _settle(session, round_.id)
    audit.record(
        session,
        "round.cancel",
        f"round {round_.number}",
        actor_id=actor_id,
        project_id=round_.project_id,
        details={"reason": round_.reason},
    )


def retry(session: Session, round_: Round, *, actor_id: int | None) -> None:
    """Try the stage again in which a round failed.

    Raises:
        Conflict: the round has not failed.
    """
    round_ = _locked(session, round_.id)
    if round_.state != RoundState.FAILED:
        raise Conflict(f"round {round_.number} is {round_.state}; only a failed one is retried")
    last = jobs_of(session, round_.id)[-1]
    jobs.retry(session, last.id, actor_id=actor_id)
    audit.record(
        session,
        "round.retry",
        f"round {round_.number}",
        actor_id=actor_id,
        project_id=round_.project_id,
        details={"job": last.kind},
    )
    advance(session, round_.id)


def attach(session: Session, round_id: int, checkpoint: Checkpoint) -> None:
    """Note on the round, and on the project for SFT, what a job of it has made."""
    round_ = _locked(session, round_id)
    kind = CheckpointKind(checkpoint.kind)
    if kind is CheckpointKind.SFT:
        _project(session, round_).sft_checkpoint_id = checkpoint.id
    elif kind is CheckpointKind.REWARD:
        round_.reward_checkpoint_id = checkpoint.id
    elif kind is CheckpointKind.POLICY:
        round_.policy_checkpoint_id = checkpoint.id
    session.flush()


def finish_labeling(session: Session, round_: Round, *, actor_id: int | None) -> None:
    """Ask for no more judgments in this round and go on with those that are there.

    Comparisons that labelers hold right now are still waited for.

    Raises:
        Conflict: nothing of the round is with the labelers.
    """
    round_ = _locked(session, round_.id)
    if round_.state not in (RoundState.LABELING, RoundState.EVALUATING):
        raise Conflict(f"round {round_.number} is {round_.state}; nothing is being labeled")
    settled = _settle(session, round_.id)
    audit.record(
        session,
        "round.finish_labeling",
        f"round {round_.number}",
        actor_id=actor_id,
        project_id=round_.project_id,
        details={"settled": settled},
    )
    advance(session, round_.id)


def sweep(session: Session) -> None:
    """Look at every live round once more: what slipped between two transactions goes on.

    Comparisons that nobody is left to take are asked of nobody; looked for only among the last few,
    for it costs a question per comparison and member.
    """
    query = select(Round).where(Round.state.in_(LIVE_ROUND_STATES)).order_by(Round.id)
    for round_ in session.scalars(query).all():
        waiting = session.scalars(
            select(Comparison.id)
            .where(Comparison.round_id == round_.id, comparisons.is_unfinished())
            .limit(FEW_LEFT + 1)
        ).all()
        if 0 < len(waiting) <= FEW_LEFT:
            comparisons.settle_stuck(session, round_.project_id, round_.id)
        advance(session, round_.id)


def _settle(session: Session, round_id: int) -> int:
    """Ask for no more judgments of a round than there are; return how many comparisons that was."""
    waiting = session.scalars(
        select(Comparison.id)
        .where(Comparison.round_id == round_id, comparisons.is_unfinished())
        .order_by(Comparison.id)
    ).all()
    for comparison_id in waiting:
        comparisons.settle_for(session, comparison_id)
    session.flush()
    return len(waiting)


def _next(session: Session, round_: Round) -> RoundState | None:
    """Return the state that a round is ready to enter; None while it waits."""
    state = RoundState(round_.state)
    if state is RoundState.PLANNED:
        return RoundState.SFT if _needs_sft(session, round_) else _after_sft(round_)
    if state is RoundState.LABELING:
        return _after_labeling(session, round_)
    if state is RoundState.FAILED:
        return _revived(session, round_)
    if state not in STAGE_JOBS:
        return None
    job = _stage_job(session, round_, state)
    if job is None or job.state not in OVER_JOB_STATES:
        return None
    if job.state != JobState.SUCCEEDED:
        return RoundState.FAILED
    if state is RoundState.EVALUATING:
        return _after_evaluating(session, round_)
    return _after_sft(round_) if state is RoundState.SFT else AFTER[state]


def _after_sft(round_: Round) -> RoundState:
    """Return the stage once there is a model: without a reward model to fit, it is the policy."""
    fits_reward = RoundPlan.from_json(round_.plan).fits_reward
    return RoundState.GENERATING if fits_reward else RoundState.POLICY


def _after_labeling(session: Session, round_: Round) -> RoundState | None:
    """Return what follows once neither people nor the plan's AI judge have anything left."""
    if RoundPlan.from_json(round_.plan).judge:
        job = jobs.by_natural_key(session, judge_jobs.round_key(round_))
        if job is None or job.state not in OVER_JOB_STATES:
            return None
        if job.state != JobState.SUCCEEDED:
            return RoundState.FAILED
    return RoundState.REWARD if is_labeled(session, round_.id, Purpose.TRAIN) else None


def _after_evaluating(session: Session, round_: Round) -> RoundState | None:
    """Return what follows once people have judged the evaluation, or the AI judge that decides."""
    evaluation = evaluations.of_round(session, round_.id)
    if evaluation is None:
        return RoundState.DECIDING
    job = judge_jobs.decide_round(session, round_, evaluation)
    if job is None:
        is_judged = evaluations.is_judged(session, evaluation.id)
        return RoundState.DECIDING if is_judged else None
    if job.state not in OVER_JOB_STATES:
        return None
    return RoundState.DECIDING if job.state == JobState.SUCCEEDED else RoundState.FAILED


def _enter(session: Session, round_: Round, state: RoundState) -> None:
    before = RoundState(round_.state)
    _move(round_, state)
    if state is RoundState.FAILED:
        round_.reason = _failure(before, _failed_job(session, round_))
    elif before is RoundState.FAILED:
        round_.reason = ""
    elif state in (RoundState.GENERATING, RoundState.POLICY) and round_.policy_before_id is None:
        round_.policy_before_id = _policy_before(session, round_)
    elif state is RoundState.DECIDING:
        found = evaluations.of_round(session, round_.id)
        if found is not None:
            evaluations.complete(session, found)
    session.flush()


def _ensure_job(session: Session, round_: Round) -> None:
    if round_.state == RoundState.LABELING:
        judge_jobs.label_round(session, round_)
    kind = STAGE_JOBS.get(RoundState(round_.state))
    if kind is None:
        return
    jobs.enqueue(
        session,
        kind=kind,
        queue="gpu",
        payload=_payload(round_),
        project_id=round_.project_id,
        round_id=round_.id,
        natural_key=_job_key(round_, kind),
        created_by_id=round_.created_by_id,
    )


def _payload(round_: Round) -> dict[str, Any]:
    processes = RoundPlan.from_json(round_.plan).processes
    asked = {} if processes is None else {"processes": processes}
    return {"round_id": round_.id} | asked


def _revived(session: Session, round_: Round) -> RoundState | None:
    """Return the stage to go on with once the job that failed has been retried."""
    last = jobs_of(session, round_.id)[-1]
    if last.state in OVER_JOB_STATES and last.state != JobState.SUCCEEDED:
        return None
    if last.kind == judge_jobs.KIND:
        is_labeling = last.natural_key == judge_jobs.round_key(round_)
        return RoundState.LABELING if is_labeling else RoundState.EVALUATING
    return next(stage for stage, kind in STAGE_JOBS.items() if kind == last.kind)


def _failed_job(session: Session, round_: Round) -> Job | None:
    """Return the newest job of a round that did not succeed."""
    over = OVER_JOB_STATES - {JobState.SUCCEEDED}
    failed = [job for job in jobs_of(session, round_.id) if job.state in over]
    return failed[-1] if failed else None


def _failure(stage: RoundState, job: Job | None) -> str:
    if job is None:
        return f"{stage} has no job"
    lines = [line for line in job.error.strip().splitlines() if line.strip()]
    return f"job {job.id} ({job.kind}) {job.state}" + (f": {lines[-1].strip()}" if lines else "")


def _needs_sft(session: Session, round_: Round) -> bool:
    wants = RoundPlan.from_json(round_.plan).sft is not None
    return wants and _project(session, round_).sft_checkpoint_id is None


def _policy_before(session: Session, round_: Round) -> int:
    project = _project(session, round_)
    found = checkpoints.current_policy(session, project)
    if found is None:
        assert project.base_model is not None  # launch refuses a round without a model
        found = checkpoints.register_base(session, project, project.base_model)
    return found.id


def _stage_job(session: Session, round_: Round, stage: RoundState) -> Job | None:
    return jobs.by_natural_key(session, _job_key(round_, STAGE_JOBS[stage]))


def _job_key(round_: Round, kind: str) -> str:
    return f"round-{round_.id}-{kind}"


def _project(session: Session, round_: Round) -> Project:
    project = session.get(Project, round_.project_id)
    assert project is not None  # a foreign key
    return project


def _locked(session: Session, round_id: int) -> Round:
    session.flush()
    round_ = session.get(Round, round_id, with_for_update=True, populate_existing=True)
    if round_ is None:
        raise NotFound(f"there is no round {round_id}")
    return round_


def _move(round_: Round, state: RoundState) -> None:
    round_.state = move(MOVES, f"round {round_.number}", RoundState(round_.state), state)

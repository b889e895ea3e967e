"""Rounds of the loop: launched with a plan, moved on by `advance`, decided by a person.

`advance` is the one place that says what comes next. It is called after the last judgment and at
the end of every job of a round, may be called at any time and by several at once, and does nothing
where there is nothing to do: the round's row is locked, and jobs carry natural keys. Between two
rounds, `automatic_launch.advance` says whether the next one starts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import recommendations
from app.domain.allowed_servers import AllowedServers
from app.domain.chat_settings import ChatSettings
from app.domain.plan import RoundPlan
from app.domain.states import LIVE_ROUND_STATES, OVER_JOB_STATES, RoundState, move
from app.domain.states import ROUND_MOVES as MOVES
from app.errors import Conflict, NotFound
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Project,
    Round,
)
from app.services.checkpoints import checkpoints
from app.services.jobs import jobs
from app.services.people import audit
from app.services.quality import weights_in_use
from app.services.queue import comparisons
from app.services.rounds import (
    automatic_rounds,
    evaluations,
    fresh_votes,
    gates,
    launch_checks,
    next_state,
    readiness,
    round_progress,
    stage_jobs,
)
from app.services.rounds.round_progress import current, jobs_of

FEW_LEFT = 50

_NEED_PERSON: Mapping[RoundState, str] = {
    RoundState.GATED: "waited at a check",
    RoundState.FAILED: "failed",
}
"""States that no round leaves without a person's attention: no further ones start by themselves."""


def launch(
    session: Session,
    project: Project,
    plan: RoundPlan,
    created_by_id: int | None,
    servers: AllowedServers | None = None,
    *,
    trigger: Mapping[str, Any] | None = None,
) -> Round:
    """Start the next round of a project, with its labeler weights unless the plan has its own.

    `servers` are those that the operator allows; None leaves them to the workers. `trigger` is what
    started the round if no person did, for the record.

    Raises:
        Conflict: a round of the project is not over yet.
        Invalid: something that the plan needs is not there, or not allowed.
    """
    if trigger is None:
        automatic_rounds.note_person(session, project.id)
    session.get(Project, project.id, with_for_update=True, populate_existing=True)
    live = current(session, project.id)
    if live is not None:
        raise Conflict(f"round {live.number} is {live.state}; end it before the next is launched")
    plan = weights_in_use.in_plan(session, project, plan)
    if plan.chat is None:
        plan = replace(plan, chat=ChatSettings.from_json(project.chat))
    launch_checks.check(session, project, plan, created_by_id, servers)
    plan = readiness.carried_out(session, project, plan)
    number = session.scalar(select(func.max(Round.number)).where(Round.project_id == project.id))
    round_ = Round(
        project_id=project.id,
        number=(number or 0) + 1,
        state=RoundState.PLANNED,
        plan=plan.to_json(),
        created_by_id=created_by_id,
        is_automatic=trigger is not None,
        created_at=now(session),
    )
    session.add(round_)
    session.flush()
    audit.record(
        session,
        "round.launch",
        f"round {round_.number}",
        actor_id=created_by_id if trigger is None else None,
        project_id=project.id,
        details=round_.plan if trigger is None else {**round_.plan, "automatic": dict(trigger)},
    )
    advance(session, round_.id)
    return round_


def advance(session: Session, round_id: int) -> None:
    """Move a round as far as it can go, and put in the job that its stage needs.

    Raises:
        NotFound: there is no such round.
    """
    round_ = locked(session, round_id)
    state = next_state.of(session, round_)
    while state is not None:
        _enter(session, round_, state)
        state = next_state.of(session, round_)
    stage_jobs.ensure(session, round_)
    _promote_if_better(session, round_)
    session.flush()


def _promote_if_better(session: Session, round_: Round) -> None:
    """Promote an automatic round that is clearly better, if the project's settings say so."""
    is_candidate = round_.is_automatic and round_.state == RoundState.DECIDING
    if not is_candidate or not automatic_rounds.promotes(session, round_.project_id):
        return
    evaluation = evaluations.of_round(session, round_.id)
    results = evaluations.results(session, evaluation) if evaluation is not None else None
    recommended = recommendations.recommend(results)
    if recommended is not None and recommended.promote:
        _end(session, round_, promote=True, reason=f"Automatic: {recommended.finding}", actor=None)


def decide(
    session: Session, round_: Round, *, promote: bool, reason: str, actor_id: int | None
) -> None:
    """Promote the round's policy, or hold the one before; the decision is recorded.

    Raises:
        Conflict: the round is not at the point of decision.
    """
    round_ = locked(session, round_.id)
    automatic_rounds.note_person(session, round_.project_id)
    _end(session, round_, promote=promote, reason=reason, actor=actor_id)
    if not promote:
        automatic_rounds.stop(session, round_.project_id, f"round {round_.number} was held")


def _end(session: Session, round_: Round, *, promote: bool, reason: str, actor: int | None) -> None:
    state = RoundState.PROMOTED if promote else RoundState.HELD
    _move(round_, state)
    round_.reason = reason.strip()
    round_.ended_at = now(session)
    if promote:
        project = project_of(session, round_)
        project.policy_checkpoint_id = round_.policy_checkpoint_id
    session.flush()
    audit.record(
        session,
        "round.promote" if promote else "round.hold",
        f"round {round_.number}",
        actor_id=actor,
        project_id=round_.project_id,
        details={"reason": round_.reason, "checkpoint_id": round_.policy_checkpoint_id},
    )


def cancel(session: Session, round_: Round, *, reason: str, actor_id: int | None) -> None:
    """End a round without a decision: no job goes on, and labelers are asked for nothing more.

    Raises:
        Conflict: the round is over.
    """
    round_ = locked(session, round_.id)
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
    automatic_rounds.stop(session, round_.project_id, f"round {round_.number} was cancelled")


def retry(session: Session, round_: Round, *, actor_id: int | None) -> None:
    """Try the stage again in which a round failed.

    Raises:
        Conflict: the round has not failed.
    """
    round_ = locked(session, round_.id)
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


def redo(session: Session, round_: Round, stage: RoundState) -> None:
    """Let a failed round, locked by the caller, do a stage anew after its plan was changed."""
    _enter(session, round_, stage)
    advance(session, round_.id)


def attach(session: Session, round_id: int, checkpoint: Checkpoint) -> None:
    """Note on the round, and on the project for SFT, what a job of it has made."""
    round_ = locked(session, round_id)
    kind = CheckpointKind(checkpoint.kind)
    if kind is CheckpointKind.SFT:
        project_of(session, round_).sft_checkpoint_id = checkpoint.id
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
    round_ = locked(session, round_.id)
    if gates.stage_of(session, round_) not in (RoundState.LABELING, RoundState.EVALUATING):
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


def _enter(session: Session, round_: Round, state: RoundState) -> None:
    before = RoundState(round_.state)
    _move(round_, state)
    if state not in (RoundState.POLICY, RoundState.FAILED):  # a failed training may resume
        fresh_votes.withdraw_unanswered(session, round_.id)
    if state in _NEED_PERSON:
        why = f"round {round_.number} {_NEED_PERSON[state]}"
        automatic_rounds.stop(session, round_.project_id, why)
    if state is RoundState.FAILED:
        round_.reason = round_progress.failure(session, round_, before)
    elif before is RoundState.FAILED:
        round_.reason = ""
    elif state is RoundState.SFT:
        round_.policy_before_id = None  # candidates are then of the model that SFT makes
    elif state in (RoundState.GENERATING, RoundState.POLICY) and round_.policy_before_id is None:
        round_.policy_before_id = _policy_before(session, round_)
    elif state is RoundState.DECIDING:
        found = evaluations.of_round(session, round_.id)
        if found is not None:
            evaluations.complete(session, found)
    session.flush()


def _policy_before(session: Session, round_: Round) -> int:
    project = project_of(session, round_)
    found = checkpoints.current_policy(session, project)
    if found is None:
        assert project.base_model is not None  # launch refuses a round without a model
        found = checkpoints.register_base(session, project, project.base_model)
    return found.id


def project_of(session: Session, round_: Round) -> Project:
    """Return the project of a round."""
    project = session.get(Project, round_.project_id)
    assert project is not None  # a foreign key
    return project


def locked(session: Session, round_id: int) -> Round:
    """Return a round, locked until the end of the transaction.

    Raises:
        NotFound: there is no such round.
    """
    session.flush()
    round_ = session.get(Round, round_id, with_for_update=True, populate_existing=True)
    if round_ is None:
        raise NotFound(f"there is no round {round_id}")
    return round_


def _move(round_: Round, state: RoundState) -> None:
    round_.state = move(MOVES, f"round {round_.number}", RoundState(round_.state), state)

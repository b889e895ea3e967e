"""What a lead decides at a gate: take a remedy, or override it. The round goes on with it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.db import now
from app.domain.gate_policies import Gate, GateOutcome
from app.domain.gates.failures import FailureFigures
from app.domain.gates.table import TITLES
from app.domain.gates.verdicts import PlanRemedy, chosen
from app.domain.gates.verdicts import changed as plan_changed
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.errors import Conflict, Invalid
from app.models import GateVerdict, Job, Purpose, Round
from app.services.jobs import jobs
from app.services.people import audit
from app.services.queue import overlap
from app.services.rounds import (
    gates,
    launch_checks,
    round_progress,
    rounds,
    stage_jobs,
)

NOTE_MOST = 2000


def override(
    session: Session, round_: Round, gate: Gate, *, note: str, actor_id: int | None
) -> None:
    """Let a round go on although a gate says that it cannot work.

    Raises:
        Conflict: the round does not wait at this gate.
        Invalid: the note is too long.
    """
    round_ = rounds.locked(session, round_.id)
    row = _waiting(session, round_, gate)
    _decide(session, row, GateOutcome.OVERRIDDEN, note, actor_id)
    job = None if row.job_id is None else jobs.get(session, row.job_id)
    if job is not None and (job.result or {}).get(gates.HELD_BACK):
        row.redo = row.stage
    _audit(session, round_, "round.gate_override", row, actor_id, {})
    rounds.advance(session, round_.id)


def take(
    session: Session, round_: Round, gate: Gate, key: str, *, note: str, actor_id: int | None
) -> PlanRemedy:
    """Change a waiting round's plan by a remedy, and go on from the stage that it redoes.

    Raises:
        Conflict: the round does not wait at this gate.
        NotFound: the gate has no such remedy.
        Invalid: the changed plan cannot be carried out, or the note is too long.
    """
    round_ = rounds.locked(session, round_.id)
    row = _waiting(session, round_, gate)
    remedy = gates.verdict_of(row, RoundPlan.from_json(round_.plan)).remedy(key)
    _apply(session, round_, row, remedy, note, actor_id)
    for other in gates.waiting(session, round_.id):
        if remedy.redo is not None:
            other.outcome, other.decided_at = GateOutcome.MOOT, row.decided_at
    if gate is Gate.LABELERS:
        _ask_for_fewer(session, round_, row, remedy)
    rounds.advance(session, round_.id)
    return remedy


def retry(session: Session, round_: Round, key: str, *, actor_id: int | None) -> None:
    """Try the stage again in which a round failed: as it was, or with a remedy's plan.

    Raises:
        Conflict: the round has not failed.
        NotFound: no such remedy is proposed for the failure.
        Invalid: the changed plan cannot be carried out.
    """
    if not key:
        rounds.retry(session, round_, actor_id=actor_id)
        return
    round_ = rounds.locked(session, round_.id)
    if round_.state != RoundState.FAILED:
        raise Conflict(f"round {round_.number} is {round_.state}; only a failed one is retried")
    job, figures = failure_of(session, round_)
    plan = RoundPlan.from_json(round_.plan)
    remedy = chosen(figures.verdict(plan).remedies, key, "the failure")
    row = gates.add(session, round_, figures.stage, Gate.FAILURE, figures, GateOutcome.WAITING, job)
    _apply(session, round_, row, remedy, "", actor_id)
    rounds.redo(session, round_, RoundState(row.redo))


def proposals(session: Session, round_: Round) -> tuple[PlanRemedy, ...]:
    """Return the changes of the plan with which a failed round may be tried again."""
    if round_.state != RoundState.FAILED or round_progress.failed_job(session, round_) is None:
        return ()
    _job, figures = failure_of(session, round_)
    return figures.verdict(RoundPlan.from_json(round_.plan)).remedies


def failure_of(session: Session, round_: Round) -> tuple[Job, FailureFigures]:
    """Return the job that failed, its stage, and its error in one line."""
    job = round_progress.failed_job(session, round_)
    if job is None:
        raise Conflict(f"round {round_.number} has no job that failed")
    lines = [line.strip() for line in job.error.splitlines() if line.strip()]
    stage = stage_jobs.stage_of(session, round_, job)
    return job, FailureFigures(stage, lines[-1] if lines else str(job.state))


def _apply(
    session: Session,
    round_: Round,
    row: GateVerdict,
    remedy: PlanRemedy,
    note: str,
    actor_id: int | None,
) -> None:
    """Change the plan; the round is checked again as at its launch."""
    plan = plan_changed(RoundPlan.from_json(round_.plan), remedy.changes)
    project = rounds.project_of(session, round_)
    launch_checks.check(session, project, plan, actor_id, None)  # no remedy changes a server
    round_.plan = plan.to_json()
    row.remedy, row.remedy_label = remedy.key, remedy.label
    row.changes = dict(remedy.changes)
    row.redo = str(remedy.redo or "")
    _decide(session, row, GateOutcome.REMEDIED, note, actor_id)
    _audit(session, round_, "round.gate_remedy", row, actor_id, {"changes": row.changes})


def _ask_for_fewer(session: Session, round_: Round, row: GateVerdict, remedy: PlanRemedy) -> None:
    (number,) = remedy.changes.values()
    assert isinstance(number, int)
    is_evaluation = row.stage == RoundState.EVALUATING
    purpose = Purpose.EVALUATION if is_evaluation else Purpose.TRAIN
    overlap.change(session, round_.project_id, number, round_.id, (purpose,))


def _waiting(session: Session, round_: Round, gate: Gate) -> GateVerdict:
    for row in gates.waiting(session, round_.id):
        if row.gate == gate:
            return row
    raise Conflict(f"round {round_.number} does not wait at the check “{TITLES[gate]}”")


def _decide(
    session: Session, row: GateVerdict, outcome: GateOutcome, note: str, actor_id: int | None
) -> None:
    if len(note) > NOTE_MOST:
        raise Invalid(f"a note has at most {NOTE_MOST} characters, not {len(note)}")
    row.outcome, row.note, row.decided_by_id = outcome, note.strip(), actor_id
    row.decided_at = now(session)
    session.flush()


def _audit(
    session: Session,
    round_: Round,
    action: str,
    row: GateVerdict,
    actor_id: int | None,
    details: Mapping[str, Any],
) -> None:
    audit.record(
        session,
        action,
        f"round {round_.number}",
        actor_id=actor_id,
        project_id=round_.project_id,
        details={"gate": row.gate, "remedy": row.remedy, "note": row.note, **details},
    )

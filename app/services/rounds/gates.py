"""Verdicts of a round's gates: recorded as stages end, re-measured while the round waits.

Jobs measure and put their figures into their results; what needs no model is measured here. What
people decide is in `gate_decisions`, and `rounds.advance` asks this module whether a round may go
on.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.gate_policies import Gate, GateOutcome, GatePolicy
from app.domain.gates import table
from app.domain.gates.judging import EvaluationFigures, LabelerFigures
from app.domain.gates.verdicts import Figures, Verdict
from app.domain.plan import RoundPlan
from app.domain.states import AssignmentState, RoundState
from app.models import (
    Assignment,
    Comparison,
    GateVerdict,
    Job,
    Membership,
    Prompt,
    Purpose,
    Round,
    Split,
)
from app.services.people import audit
from app.services.queue import comparisons
from app.services.rounds import evaluations

FIGURES, HELD_BACK = "gates", "held_back"
"""In a job's result: the figures by gate, and whether it stopped before it did its work."""

ORDER = (
    RoundState.SFT,
    RoundState.GENERATING,
    RoundState.LABELING,
    RoundState.REWARD,
    RoundState.POLICY,
    RoundState.EVALUATING,
)
_LABELED = {RoundState.LABELING: Purpose.TRAIN, RoundState.EVALUATING: Purpose.EVALUATION}


def holds(session: Session, round_: Round, job: Job | None, *, is_over: bool) -> bool:
    """Record what the gates of a round's stage say, and return whether it has to wait.

    Args:
        session: of the caller.
        round_: locked by the caller.
        job: of the stage, if it has one that succeeded.
        is_over: whether the stage is; before, only what labelers need is looked at.
    """
    stage = RoundState(round_.state)
    known = of_round(session, round_.id)
    if not is_over:
        labelers = labelers_of(session, round_, stage)
        if labelers is not None and not _is_known(known, Gate.LABELERS, stage, None):
            fires = labelers.verdict(RoundPlan.from_json(round_.plan)).fires
            if fires:  # what is enough is not worth a row on every call
                _record(session, round_, known, Gate.LABELERS, labelers, None)
    else:
        for gate, figures in _measured(session, round_, stage, job):
            if not _is_known(known, gate, stage, job):
                _record(session, round_, known, gate, figures, job)
    session.flush()
    return bool(waiting(session, round_.id))


def resumed(session: Session, round_: Round) -> RoundState | None:
    """Return the stage with which a waiting round goes on; None while it waits."""
    rows = waiting(session, round_.id)
    for row in rows:
        if row.gate == Gate.LABELERS and not _still_fires(session, round_, row):
            row.outcome, row.decided_at = GateOutcome.CLEARED, now(session)
    session.flush()
    if waiting(session, round_.id):
        return None
    decided = [
        (row.decided_at, row.id, row)
        for row in of_round(session, round_.id)
        if row.decided_at is not None and row.outcome != GateOutcome.MOOT
    ]
    *_when, last = max(decided, key=lambda item: item[:2])
    return RoundState(last.redo or last.stage)


def stage_of(session: Session, round_: Round) -> RoundState:
    """Return the stage that a round is in, also while it waits at one of its gates."""
    rows = waiting(session, round_.id) if round_.state == RoundState.GATED else []
    return RoundState(rows[-1].stage if rows else round_.state)


def of_round(session: Session, round_id: int) -> list[GateVerdict]:
    """Return the verdicts of a round's gates, oldest first."""
    query = select(GateVerdict).where(GateVerdict.round_id == round_id)
    return list(session.scalars(query.order_by(GateVerdict.id)))


def waiting(session: Session, round_id: int) -> list[GateVerdict]:
    """Return the verdicts that a round waits at, oldest first."""
    rows = of_round(session, round_id)
    return [row for row in rows if row.outcome == GateOutcome.WAITING]


def verdict_of(row: GateVerdict, plan: RoundPlan) -> Verdict:
    """Return what a gate said, in words, with its remedies under a plan."""
    return table.read(Gate(row.gate), row.figures).verdict(plan)


def is_overridden(session: Session, round_id: int, gate: Gate, stage: RoundState) -> bool:
    """Whether a lead has overridden a gate at a stage of a round."""
    return any(
        row.gate == gate and row.stage == stage and row.outcome == GateOutcome.OVERRIDDEN
        for row in of_round(session, round_id)
    )


def stops(session: Session, round_id: int, stage: RoundState, plan: RoundPlan, gate: Gate) -> bool:
    """Whether a round would wait at a gate that fires."""
    waits = plan.gates.of(gate) is GatePolicy.WAIT
    return waits and not is_overridden(session, round_id, gate, stage)


def times_redone(session: Session, round_id: int, stage: RoundState) -> int:
    """Count how often a stage was redone, by itself or together with an earlier one."""
    if stage not in ORDER:
        return 0
    until = ORDER[: ORDER.index(stage) + 1]
    query = select(func.count()).where(
        GateVerdict.round_id == round_id, GateVerdict.redo.in_(until)
    )
    return session.scalar(query) or 0


def labelers_of(session: Session, round_: Round, stage: RoundState) -> LabelerFigures | None:
    """Return the labelers there are for what a stage still asks of them; None if it asks nothing.

    Everybody who is a member and not paused can judge, leads included, but nobody a comparison
    twice. A judgment by somebody who has left counts for what is wanted.
    """
    purpose = _LABELED.get(stage)
    if purpose is None:
        return None
    own = (
        Comparison.round_id == round_.id,
        Comparison.purpose == purpose,
        comparisons.is_unfinished(),
    )
    judged = (  # by people who are still there, and so cannot judge it again
        select(Assignment.comparison_id, func.count().label("times"))
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Membership, Membership.user_id == Assignment.labeler_id)
        .where(
            *own,
            Membership.project_id == round_.project_id,
            Membership.is_paused.is_(False),
            Assignment.state == AssignmentState.SUBMITTED,
        )
        .group_by(Assignment.comparison_id)
        .subquery()
    )
    needed = Comparison.overlap - Comparison.done_slots + func.coalesce(judged.c.times, 0)
    wanted = session.scalar(
        select(func.max(needed))
        .join(judged, judged.c.comparison_id == Comparison.id, isouter=True)
        .where(*own)
    )
    if wanted is None:
        return None
    labelers = count_labelers(session, round_.project_id)
    return LabelerFigures(wanted, labelers, purpose is Purpose.EVALUATION)


def count_labelers(session: Session, project_id: int) -> int:
    """Count the members who are not paused."""
    query = select(func.count()).where(
        Membership.project_id == project_id, Membership.is_paused.is_(False)
    )
    return session.scalar(query) or 0


def add(
    session: Session,
    round_: Round,
    stage: RoundState,
    gate: Gate,
    figures: Figures,
    outcome: GateOutcome,
    job: Job | None,
) -> GateVerdict:
    """Record a verdict."""
    row = GateVerdict(
        round_id=round_.id,
        job_id=None if job is None else job.id,
        stage=stage,
        gate=gate,
        outcome=outcome,
        figures=table.to_json(figures),
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def _measured(
    session: Session, round_: Round, stage: RoundState, job: Job | None
) -> Iterator[tuple[Gate, Figures]]:
    reported: Mapping[str, Any] = (job.result or {}).get(FIGURES, {}) if job is not None else {}
    for name, data in reported.items():
        yield Gate(name), table.read(Gate(name), data)
    if stage is RoundState.EVALUATING:
        figures = _evaluation(session, round_)
        if figures is not None:
            yield Gate.EVALUATION, figures


def _evaluation(session: Session, round_: Round) -> EvaluationFigures | None:
    evaluation = evaluations.of_round(session, round_.id)
    if evaluation is None:
        return None
    results = evaluations.results(session, evaluation)
    if results.share is None or not results.judged:
        return None  # nobody was asked, which the results say
    available = session.scalar(
        select(func.count(Prompt.id)).where(
            Prompt.project_id == round_.project_id, Prompt.split == Split.TEST
        )
    )
    return EvaluationFigures(
        results.share, results.low, results.high, results.prompts, available or 0
    )


def _record(
    session: Session,
    round_: Round,
    known: list[GateVerdict],
    gate: Gate,
    figures: Figures,
    job: Job | None,
) -> None:
    plan, stage = RoundPlan.from_json(round_.plan), RoundState(round_.state)
    verdict = figures.verdict(plan)
    earlier = next(
        (
            row
            for row in reversed(known)
            if (row.gate, row.stage, row.outcome) == (gate, stage, GateOutcome.OVERRIDDEN)
        ),
        None,
    )
    outcome = _outcome(verdict, plan.gates.of(gate))
    if outcome is GateOutcome.WAITING and earlier is not None:
        outcome = GateOutcome.OVERRIDDEN
    row = add(session, round_, stage, gate, figures, outcome, job)
    if outcome is GateOutcome.OVERRIDDEN and earlier is not None:
        row.note, row.decided_by_id = earlier.note, earlier.decided_by_id
    if verdict.fires:
        audit.record(
            session,
            "round.gate",
            f"round {round_.number}",
            project_id=round_.project_id,
            details={"gate": gate, "outcome": outcome, "figure": verdict.figure},
        )


def _outcome(verdict: Verdict, policy: GatePolicy) -> GateOutcome:
    if not verdict.fires:
        return GateOutcome.PASSED
    if policy is GatePolicy.IGNORE:
        return GateOutcome.IGNORED
    waits = policy is GatePolicy.WAIT and verdict.can_wait
    return GateOutcome.WAITING if waits else GateOutcome.WARNED


def _still_fires(session: Session, round_: Round, row: GateVerdict) -> bool:
    figures = labelers_of(session, round_, RoundState(row.stage))
    return figures is not None and figures.verdict(RoundPlan.from_json(round_.plan)).fires


def _is_known(known: list[GateVerdict], gate: Gate, stage: RoundState, job: Job | None) -> bool:
    """Whether a gate has spoken about a job; about labelers, whether it need not speak again."""
    job_id = None if job is None else job.id
    return any(
        (row.gate, row.stage, row.job_id) == (gate, stage, job_id)
        and row.outcome not in (GateOutcome.CLEARED, GateOutcome.REMEDIED)
        for row in known
    )

"""Gates of a job: reported with its result, and asked before expensive work is begun in vain.

What the figures mean is in `app.domain.gates`, and what becomes of the round in
`app.services.rounds.gates`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from app.domain.gate_policies import Gate
from app.domain.gates import table
from app.domain.gates.verdicts import Figures
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.models import Round
from app.services.rounds import gate_views, gates
from worker.runs.process.job_context import JobContext


@dataclass(slots=True)
class GateReadings:
    """What a job has measured, by gate."""

    plan: RoundPlan
    figures: dict[Gate, Figures] = field(default_factory=dict)

    @property
    def result(self) -> dict[str, Any]:
        """The part of the job's result that `services.rounds.gates` reads."""
        found = {str(gate): table.to_json(each) for gate, each in self.figures.items()}
        return {gates.FIGURES: found} if found else {}

    @property
    def waitable(self) -> list[Gate]:
        """The gates that fire and at which a round could wait."""
        verdicts = [figures.verdict(self.plan) for figures in self.figures.values()]
        return [verdict.gate for verdict in verdicts if verdict.fires and verdict.can_wait]

    @property
    def failed(self) -> list[str]:
        """A sentence for each gate that fires, for the card of a model."""
        verdicts = [figures.verdict(self.plan) for figures in self.figures.values()]
        return [f"Check failed: {verdict.reason}" for verdict in verdicts if verdict.fires]


def holds_back(
    context: JobContext,
    round_: Round,
    stage: RoundState,
    measured: GateReadings,
    result: Mapping[str, Any] | None = None,
) -> bool:
    """End the job without its work if the round would wait at a gate that fires.

    Args:
        context: of the job.
        round_: of the job.
        stage: of the round.
        measured: so far.
        result: more of the job's result.

    Returns:
        Whether the job is over.
    """
    firing = measured.waitable
    if not firing:
        return False

    def stop() -> bool:
        with context.database.reader() as session:
            waits = [
                gate
                for gate in firing
                if gates.stops(session, round_.id, stage, measured.plan, gate)
            ]
        if not waits:
            return False
        context.say(f"Held back: {', '.join(waits)}.")
        ended = {**(result or {}), **measured.result, gates.HELD_BACK: True}
        context.succeed(lambda _session: ended)
        return True

    is_over = context.once(stop)
    if is_over:
        context.is_over = True  # in every process that shares the run
        context.leave_team()
    return is_over


def card_lines(session: Session, round_: Round) -> list[str]:
    """Return what a model's card says of gates that fired, and at which the round went on."""
    return [view.sentence for view in gate_views.raised(session, round_.id)]

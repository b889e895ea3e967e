"""Gates of a round as people see them: titles, sentences, remedies, and who decided what."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.domain.gate_policies import RAISED, Gate, GateOutcome
from app.domain.gates import table
from app.domain.gates.verdicts import Verdict
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.models import Checkpoint, CheckpointKind, GateVerdict, Round, User
from app.services.rounds import gates

_UP_TO = {
    CheckpointKind.SFT: RoundState.SFT,
    CheckpointKind.REWARD: RoundState.REWARD,
    CheckpointKind.POLICY: RoundState.EVALUATING,
}


@dataclass(frozen=True, slots=True)
class GateView:
    """A verdict in words, and who decided it; empty if nobody did."""

    row: GateVerdict
    title: str
    verdict: Verdict
    decided_by: str = ""

    @property
    def is_waiting(self) -> bool:
        """Whether the round waits for a decision."""
        return self.row.outcome == GateOutcome.WAITING

    @property
    def is_raised(self) -> bool:
        """Whether the round went on although the gate fired."""
        return self.row.outcome in RAISED

    @property
    def sentence(self) -> str:
        """What the card of a model says of a gate at which its round went on."""
        how = {
            GateOutcome.OVERRIDDEN: "Overridden by a lead",
            GateOutcome.IGNORED: "Ignored under the plan",
        }.get(GateOutcome(self.row.outcome), "Only a warning under the plan")
        note = f": {self.row.note}" if self.row.note else ""
        return f"{self.verdict.reason} ({how}{note}.)"


def of_round(session: Session, round_: Round) -> tuple[GateView, ...]:
    """Return the verdicts of a round, oldest first."""
    return _views(session, gates.of_round(session, round_.id), RoundPlan.from_json(round_.plan))


def waiting(session: Session, round_: Round) -> tuple[GateView, ...]:
    """Return the verdicts that a round waits at."""
    return tuple(view for view in of_round(session, round_) if view.is_waiting)


def raised(
    session: Session, round_id: int, stages: Collection[RoundState] = gates.ORDER
) -> tuple[GateView, ...]:
    """Return the gates of some stages that fired and at which the round went on, each once."""
    round_ = session.get_one(Round, round_id)
    newest: dict[Gate, GateView] = {}
    for view in of_round(session, round_):
        if view.row.stage in stages:
            newest[Gate(view.row.gate)] = view
    return tuple(view for view in newest.values() if view.is_raised)


def of_checkpoint(session: Session, checkpoint: Checkpoint) -> tuple[GateView, ...]:
    """Return the gates at which a model's round went on, up to the stage that shows its worth."""
    until = _UP_TO.get(CheckpointKind(checkpoint.kind))
    if checkpoint.round_id is None or until is None:
        return ()
    stages = gates.ORDER[: gates.ORDER.index(until) + 1]
    return raised(session, checkpoint.round_id, stages)


def _views(session: Session, rows: list[GateVerdict], plan: RoundPlan) -> tuple[GateView, ...]:
    return tuple(
        GateView(
            row,
            table.TITLES[Gate(row.gate)],
            gates.verdict_of(row, plan),
            _name(session, row.decided_by_id),
        )
        for row in rows
    )


def _name(session: Session, user_id: int | None) -> str:
    user = session.get(User, user_id) if user_id is not None else None
    return user.name if user is not None else ""

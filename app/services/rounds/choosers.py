"""Which reward model chooses a round's comparisons, or why they are all drawn at random."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.choosing import ChoicePlan, ChoiceRule
from app.models import Checkpoint, Round

NO_MODEL = "no earlier round has a reward model to choose by"
FEW_PROMPTS = (
    "the train split has no more than the {} prompts that the round asks about; add prompts, or "
    "ask about fewer"
)


@dataclass(frozen=True, slots=True)
class Chooser:
    """The reward model that chooses, or the reason why none can; neither, if none is to."""

    model: Checkpoint | None = None
    reason: str = ""


def find(
    session: Session, project_id: int, plan: ChoicePlan, *, before: int | None = None
) -> Chooser:
    """Return what chooses the comparisons of a round: of that number, or of the next one."""
    if plan.rule is ChoiceRule.RANDOM or not plan.share:
        return Chooser()
    model = _model(session, project_id, before)
    if model is None:
        return Chooser(reason=NO_MODEL)
    if plan.rule.needs_ensemble and len(model.config["names"]) < 2:
        return Chooser(
            reason=f"{model.name} is a single reward model, and the rule {plan.rule} needs an "
            "ensemble; set reward.ensemble to 2 or more for the next one, or choose by uncertainty"
        )
    return Chooser(model)


def _model(session: Session, project_id: int, before: int | None) -> Checkpoint | None:
    """Return the reward model of the last round that has one which is ready."""
    query = (
        select(Checkpoint)
        .join(Round, Round.reward_checkpoint_id == Checkpoint.id)
        .where(Round.project_id == project_id, Checkpoint.state == "ready")
        .order_by(Round.number.desc())
        .limit(1)
    )
    return session.scalar(query if before is None else query.where(Round.number < before))

"""Which reward model chooses a round's comparisons."""

from sqlalchemy.orm import Session

from app.db import now
from app.domain.choosing import ChoicePlan, ChoiceRule
from app.models import Checkpoint, CheckpointKind, Project, Round
from app.services.rounds import choosers
from tests.services.sample_votes import make_project


def fitted(session: Session, project: Project, number: int, *names: str) -> Checkpoint:
    """Add a round with a reward model of some members."""
    made = Checkpoint(
        project_id=project.id,
        kind=CheckpointKind.REWARD,
        name=f"Reward {number}",
        state="ready",
        uri="",
        config={"names": list(names)},
        metrics={},
        created_at=now(session),
    )
    session.add(made)
    session.flush()
    session.add(
        Round(
            project_id=project.id,
            number=number,
            plan={},
            reward_checkpoint_id=made.id,
            created_at=now(session),
        )
    )
    session.flush()
    return made


def test_the_last_earlier_reward_model_chooses_if_the_rule_can_go_by_it(session: Session) -> None:
    project, _ = make_project(session)

    def find(rule: ChoiceRule, before: int | None = None) -> choosers.Chooser:
        return choosers.find(session, project.id, ChoicePlan(rule), before=before)

    assert find(ChoiceRule.RANDOM) == choosers.Chooser()
    assert find(ChoiceRule.UNCERTAINTY).reason == choosers.NO_MODEL
    ensemble = fitted(session, project, 1, "reward", "reward-1")
    single = fitted(session, project, 2, "reward")
    assert find(ChoiceRule.UNCERTAINTY).model == single
    assert find(ChoiceRule.DISAGREEMENT, before=2).model == ensemble
    refused = find(ChoiceRule.DISAGREEMENT)
    assert refused.model is None
    assert "Reward 2 is a single reward model" in refused.reason
    assert "set reward.ensemble to 2 or more" in refused.reason
    single.state = "retired"
    session.flush()
    assert find(ChoiceRule.DISAGREEMENT).model == ensemble

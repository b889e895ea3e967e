"""The figures of each round: which evaluation counts, and what was never measured."""

import pytest
from sqlalchemy.orm import Session

from app.domain import climb as rules
from app.domain.measures import Measure, Undefined
from app.domain.states import RoundState
from app.models import Checkpoint, Comparison, Project
from app.services.queue import comparisons
from app.services.rounds import climb, evaluations
from tests.services import sample
from tests.services.rounds import climbed


@pytest.fixture
def project(work: Session) -> Project:
    return sample.make_project(work, overlap=1)


def reason(measure: Measure) -> str:
    assert isinstance(measure.value, Undefined)
    return measure.value.reason


def test_rounds_have_their_figures_or_the_reason_why_not(work: Session, project: Project) -> None:
    climbed.three_rounds(work, project)
    found = climb.of_project(work, project)
    first, second, fourth = found.rounds
    assert [(each.number, each.reason) for each in found.left_out] == [(3, "it was cancelled")]
    assert (first.policy, first.last, first.initial) == ("Policy 1", "SFT 1", "SFT 1")
    assert first.votes_sft == first.votes_last, "the previous policy was the SFT model"
    assert first.votes_last.value == 14 / 16
    assert first.scores_last.value == first.scores_sft.value == 14 / 16
    assert (fourth.last, fourth.votes_last.value) == ("Policy 1", 15 / 20)
    assert "with Policy 1, not with SFT 1" in reason(fourth.votes_sft)
    assert fourth.scores_sft.value == 1.0, "the initial model responded to the same prompts"
    assert fourth.kl_nats.value == 6.0
    assert (fourth.length.value, fourth.length_sft.value, first.length_sft.value) == (110, 70, 80)
    assert reason(second.accuracy) == reason(second.human_level) == rules.NO_REWARD
    assert (first.accuracy.value, first.ceiling_high.value) == (0.64, 0.78)
    assert not rules.is_even_enough(second.votes_last)


def test_only_complete_evaluations_count_and_no_withdrawn_prompts(
    work: Session, project: Project
) -> None:
    initial = climbed.sft(work, project)
    round_ = climbed.add_round(work, project, initial, initial, verdicts="nnoo")
    *_, lost = work.query(Comparison).filter_by(project_id=project.id).order_by(Comparison.id)
    comparisons.withdraw(work, lost.id)
    (found,) = climb.of_project(work, project).rounds
    assert found.scores_last.value == found.votes_last.value == pytest.approx(2 / 3)
    evaluation = evaluations.of_round(work, round_.id)
    assert evaluation is not None
    evaluation.state = evaluations.RUNNING
    (found,) = climb.of_project(work, project).rounds
    for measure in (found.votes_sft, found.votes_last, found.scores_last, found.length):
        assert reason(measure) == rules.NO_EVALUATION


def test_a_model_without_records_has_reasons(work: Session, project: Project) -> None:
    initial = climbed.sft(work, project)
    round_ = climbed.add_round(work, project, initial, initial, verdicts="n")
    for checkpoint_id in (round_.reward_checkpoint_id, round_.policy_checkpoint_id):
        work.get_one(Checkpoint, checkpoint_id).metrics = {}
    (found,) = climb.of_project(work, project).rounds
    for measure in (found.accuracy, found.ceiling_low, found.kl_nats):
        assert reason(measure) == rules.NOT_RECORDED
    assert reason(found.agreement)


def test_without_a_finished_round_there_is_nothing(work: Session, project: Project) -> None:
    assert climb.of_project(work, project) == rules.Climb((), ())
    initial = climbed.sft(work, project)
    row = climbed.add_round(work, project, initial, initial, verdicts="n")
    for state, why in ((RoundState.POLICY, "not finished"), (RoundState.FAILED, "failed")):
        row.state = state
        assert why in climb.of_project(work, project).left_out[0].reason
    row.state, row.policy_checkpoint_id = RoundState.PROMOTED, None
    assert climb.of_project(work, project).left_out[0].reason == "it has no policy"

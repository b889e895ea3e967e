"""A round that waits at its gates, and what people decide there."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.gate_policies import Gate, GateOutcome, GatePolicies, GatePolicy
from app.domain.gates import table
from app.domain.gates.candidates import EndingFigures, PreflightFigures
from app.domain.gates.learning import PolicyFigures, RewardFigures
from app.domain.gates.verdicts import Figures
from app.domain.next_action import NextAction
from app.domain.plan import RoundPlan
from app.domain.states import RoundState
from app.errors import Conflict, Invalid, NotFound
from app.models import (
    AuditEvent,
    CheckpointKind,
    Comparison,
    Demonstration,
    Job,
    Membership,
    Project,
    Prompt,
    Round,
    Split,
    User,
)
from app.services.checkpoints import checkpoints
from app.services.queue import slot_leases
from app.services.rounds import (
    gate_decisions,
    gate_views,
    gates,
    judging_flow,
    launch_plans,
    next_step,
    readiness,
    round_progress,
    rounds,
)
from tests.services import sample
from tests.services.rounds.stages import PLAN, end_job, judge, launch, state_of

WASTE = PreflightFigures(330, 63, 70, 290, 0, 1320, 900, 20, 0.62, has_spares=False)
ENDLESS = EndingFigures(1320, 3, 128, 1, has_sft=False)
CHANCE = RewardFigures(60, 0.54, 0.37, 0.72, "longer", 0.5, -0.1, 50, 63)
STILL = PolicyFigures(9, 0, 0.0, 0.1, 0.1)


def result(gate: Gate, figures: Figures, *, held_back: bool = False) -> dict[str, Any]:
    found = {gates.FIGURES: {gate.value: table.to_json(figures)}}
    return found | ({gates.HELD_BACK: True} if held_back else {})


WASTED = result(Gate.PREFLIGHT, WASTE, held_back=True)


def outcomes(session: Session, round_: Round) -> list[tuple[str, str]]:
    return [(str(row.gate), str(row.outcome)) for row in gates.of_round(session, round_.id)]


def keys(session: Session, round_: Round) -> list[str | None]:
    query = select(Job.natural_key).where(Job.round_id == round_.id).order_by(Job.id)
    return [key and key.removeprefix(f"round-{round_.id}-") for key in session.scalars(query)]


def test_a_round_waits_before_labelers_are_asked_in_vain(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_, result=WASTED)
    assert state_of(round_) == RoundState.GATED
    rounds.advance(work, round_.id)
    assert outcomes(work, round_) == [("preflight", "waiting")], "asked once"
    assert gates.stage_of(work, round_) == RoundState.GENERATING
    overview = round_progress.overview(work, round_)
    step = next_step.what_next(work, project, overview)
    assert step.action is NextAction.PASS_GATE
    assert [view.title for view in step.gates] == ["Usable candidates"]
    with pytest.raises(Conflict, match="round 1 is gated; end it"):
        launch(work, project)
    with pytest.raises(Conflict, match="does not wait at the check “Reward model”"):
        gate_decisions.override(work, round_, Gate.REWARD, note="", actor_id=None)
    with pytest.raises(NotFound, match="has no remedy 'luck'"):
        gate_decisions.take(work, round_, Gate.PREFLIGHT, "luck", note="", actor_id=None)
    (event,) = work.scalars(select(AuditEvent).where(AuditEvent.action == "round.gate"))
    assert event.details["figure"] == "63 of 330 prompts kept (19 %)"


def test_a_remedy_changes_the_plan_and_redoes_the_stage(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_, result=WASTED)
    gate_decisions.take(
        work, round_, Gate.PREFLIGHT, "keep_cut_off", note=" they read well ", actor_id=None
    )
    assert state_of(round_) == RoundState.GENERATING
    assert RoundPlan.from_json(round_.plan).preflight.drop_cut_off is False
    assert keys(work, round_) == ["generate", "generate-2"]
    (row,) = gates.of_round(work, round_.id)
    assert (row.outcome, row.remedy, row.note) == ("remedied", "keep_cut_off", "they read well")
    assert row.changes == {"preflight.drop_cut_off": False}
    end_job(work, round_, result=result(Gate.PREFLIGHT, replace(WASTE, kept=300)))
    assert state_of(round_) == RoundState.LABELING
    assert outcomes(work, round_)[1:] == [("preflight", "passed")]
    judge(work, round_)
    assert keys(work, round_)[2:] == ["reward-2"], "later stages are those of the new plan"
    actions = set(work.scalars(select(AuditEvent.action)))
    assert "round.gate_remedy" in actions


def test_an_override_goes_on_with_what_there_is(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_, result=WASTED)
    assert gates.stops(work, round_.id, RoundState.GENERATING, PLAN, Gate.PREFLIGHT)
    gate_decisions.override(work, round_, Gate.PREFLIGHT, note="a trial", actor_id=None)
    assert state_of(round_) == RoundState.GENERATING, "the job had held back"
    assert not gates.stops(work, round_.id, RoundState.GENERATING, PLAN, Gate.PREFLIGHT)
    end_job(work, round_, result=result(Gate.PREFLIGHT, WASTE))
    assert state_of(round_) == RoundState.LABELING
    assert outcomes(work, round_) == [("preflight", "overridden")] * 2
    (view,) = gate_views.raised(work, round_.id)
    assert view.sentence.endswith("(Overridden by a lead: a trial.)")
    with pytest.raises(Invalid, match="at most 2000 characters, not 2001"):
        end_and_override_reward(work, round_)


def end_and_override_reward(session: Session, round_: Round) -> None:
    judge(session, round_)
    end_job(session, round_, result=result(Gate.REWARD, CHANCE))
    gate_decisions.override(session, round_, Gate.REWARD, note="x" * 2001, actor_id=None)


def test_policies_let_a_round_go_on_and_are_recorded(work: Session, project: Project) -> None:
    policies = replace(GatePolicies.all(GatePolicy.WARN), policy=GatePolicy.IGNORE)
    round_ = launch(work, project, replace(PLAN, gates=policies))
    assert not gates.stops(
        work, round_.id, RoundState.GENERATING, replace(PLAN, gates=policies), Gate.PREFLIGHT
    )
    end_job(work, round_, result=result(Gate.PREFLIGHT, WASTE))
    judge(work, round_)
    end_job(work, round_, result=result(Gate.REWARD, CHANCE))
    end_job(work, round_, result=result(Gate.POLICY, STILL))
    assert state_of(round_) == RoundState.EVALUATING
    assert outcomes(work, round_) == [
        ("preflight", "warned"),
        ("reward", "warned"),
        ("policy", "ignored"),
    ]
    made = {each.kind: each for each in round_progress.overview(work, round_).checkpoints}
    assert [v.row.gate for v in gate_views.of_checkpoint(work, made[CheckpointKind.REWARD])] == [
        "preflight",
        "reward",
    ]
    assert len(gate_views.of_checkpoint(work, made[CheckpointKind.POLICY])) == 3


def test_a_reward_model_at_chance_is_not_trained_against(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_)
    judge(work, round_)
    end_job(work, round_, result=result(Gate.REWARD, CHANCE))
    assert state_of(round_) == RoundState.GATED
    before = round_.reward_checkpoint_id
    gate_decisions.take(work, round_, Gate.REWARD, "more_judgments", note="", actor_id=None)
    assert state_of(round_) == RoundState.GENERATING
    assert RoundPlan.from_json(round_.plan).prompts == 2 * PLAN.prompts
    end_job(work, round_)
    judge(work, round_)
    assert end_job(work, round_, result=result(Gate.REWARD, replace(CHANCE, low=0.51))) == "reward"
    assert state_of(round_) == RoundState.GATED, "no better than length yet"
    assert round_.reward_checkpoint_id != before
    gate_decisions.override(work, round_, Gate.REWARD, note="", actor_id=None)
    assert state_of(round_) == RoundState.POLICY, "the model is there; nothing is redone"
    assert keys(work, round_) == ["generate", "reward", "generate-2", "reward-2", "policy-2"]


def test_two_gates_are_decided_one_by_one(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    both = result(Gate.ENDINGS, ENDLESS, held_back=True)
    both[gates.FIGURES] |= WASTED[gates.FIGURES]
    end_job(work, round_, result=both)
    assert len(gates.waiting(work, round_.id)) == 2
    gate_decisions.override(work, round_, Gate.ENDINGS, note="", actor_id=None)
    assert state_of(round_) == RoundState.GATED
    gate_decisions.override(work, round_, Gate.PREFLIGHT, note="", actor_id=None)
    assert state_of(round_) == RoundState.GENERATING
    assert len(keys(work, round_)) == 2


def test_a_remedy_for_one_gate_is_tried_before_the_others_matter(
    work: Session, project: Project
) -> None:
    prompt_id = work.scalars(select(Prompt.id).where(Prompt.split == Split.TRAIN)).first()
    round_ = launch(work, project)
    work.add(
        Demonstration(
            project_id=project.id,
            prompt_id=prompt_id,
            text="Like this.",
            content_hash="1" * 64,
            created_at=now(work),
        )
    )
    both = result(Gate.ENDINGS, ENDLESS, held_back=True)
    both[gates.FIGURES] |= WASTED[gates.FIGURES]
    end_job(work, round_, result=both)
    base = round_.policy_before_id
    gate_decisions.take(work, round_, Gate.ENDINGS, "sft", note="", actor_id=None)
    assert outcomes(work, round_) == [("endings", "remedied"), ("preflight", "moot")]
    assert state_of(round_) == RoundState.SFT
    assert end_job(work, round_) == "sft"
    assert state_of(round_) == RoundState.GENERATING
    assert round_.policy_before_id not in (None, base), "candidates are of the tuned model"


def test_a_round_waits_for_labelers_and_goes_on_once_they_are_there(
    work: Session, project: Project
) -> None:
    plan = replace(PLAN, overlap=2)
    data = launch_plans.data_of(work, project)
    assert "needs 2 judgments" in readiness.preview(work, project, plan, data).check_remarks[0]
    round_ = launch(work, project, plan)
    end_job(work, round_)
    set_overlap(work, round_, 2)
    rounds.advance(work, round_.id)
    assert state_of(round_) == RoundState.GATED
    assert gates.stage_of(work, round_) == RoundState.LABELING
    sample.make_labelers(work, project, 1)
    rounds.advance(work, round_.id)
    assert state_of(round_) == RoundState.LABELING
    assert outcomes(work, round_) == [("labelers", "cleared")]
    set_overlap(work, round_, 3)
    rounds.advance(work, round_.id)
    assert outcomes(work, round_)[1:] == [("labelers", "waiting")], "it may recur"
    judge(work, round_)
    assert state_of(round_) == RoundState.REWARD, "labeling goes on while the round waits"


def test_fewer_judgments_are_asked_of_few_labelers(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_)
    (comparison,) = work.scalars(select(Comparison).where(Comparison.round_id == round_.id))
    from_service = gates.labelers_of(work, round_, RoundState.LABELING)
    assert from_service is not None
    assert (from_service.wanted, from_service.labelers) == (1, 1)
    ask_for(work, project, 3)
    assert state_of(round_) == RoundState.GATED
    gate_decisions.take(work, round_, Gate.LABELERS, "fewer_judgments", note="", actor_id=None)
    assert state_of(round_) == RoundState.LABELING
    work.refresh(comparison)
    assert comparison.overlap == 1
    assert RoundPlan.from_json(round_.plan).overlap == 1


def ask_for(session: Session, project: Project, number: int) -> None:
    actor_id = session.scalars(select(User.id)).first() or 0
    judging_flow.set_overlap(session, project.id, number, actor_id=actor_id)


def set_overlap(session: Session, round_: Round, number: int) -> None:
    for row in session.scalars(select(Comparison).where(Comparison.round_id == round_.id)):
        row.overlap = number
    session.flush()


def test_who_has_judged_cannot_be_asked_again_and_who_has_left_counts(
    work: Session, project: Project
) -> None:
    second = sample.make_labelers(work, project, 1)[0]
    round_ = launch(work, project, replace(PLAN, overlap=2))
    end_job(work, round_)
    ask_for(work, project, 2)
    (comparison,) = work.scalars(select(Comparison).where(Comparison.round_id == round_.id))

    def needed() -> tuple[int, int] | None:
        found = gates.labelers_of(work, round_, RoundState.LABELING)
        return None if found is None else (found.wanted, found.labelers)

    assert needed() == (2, 2)
    leased = slot_leases.claim(work, sample.SECRET, project, second)
    assert leased is not None
    judging_flow.submit(work, project, second, sample.submission(leased))
    work.refresh(comparison)
    assert (comparison.overlap, comparison.done_slots) == (2, 1)
    assert needed() == (2, 2), "the other labeler is left"
    membership = work.scalars(select(Membership).where(Membership.user_id == second)).one()
    membership.is_paused = True
    work.flush()
    assert needed() == (1, 1), "what was judged stays judged"
    membership.is_paused = False
    for row in work.scalars(select(Membership).where(Membership.user_id != second)):
        row.is_paused = True
    work.flush()
    assert needed() == (2, 1), "nobody judges a comparison twice"


def test_labeling_can_be_ended_while_the_round_waits(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_)
    ask_for(work, project, 3)
    assert state_of(round_) == RoundState.GATED
    rounds.finish_labeling(work, round_, actor_id=None)
    assert state_of(round_) == RoundState.REWARD


def test_a_waiting_round_can_be_cancelled(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_, result=WASTED)
    rounds.cancel(work, round_, reason="no", actor_id=None)
    assert state_of(round_) == RoundState.CANCELLED
    assert launch(work, project).number == 2


def test_a_failed_stage_is_tried_again_with_another_plan(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    assert gate_decisions.proposals(work, round_) == ()
    end_job(work, round_, fails=True, error="torch.OutOfMemoryError: CUDA out of memory")
    assert [each.key for each in gate_decisions.proposals(work, round_)] == ["smaller_batch"]
    with pytest.raises(NotFound, match="the failure has no remedy 'luck'"):
        gate_decisions.retry(work, round_, "luck", actor_id=None)
    gate_decisions.retry(work, round_, "smaller_batch", actor_id=None)
    assert (state_of(round_), round_.reason) == (RoundState.GENERATING, "")
    assert RoundPlan.from_json(round_.plan).sampling.batch_size == 16
    assert keys(work, round_) == ["generate", "generate-2"]
    assert outcomes(work, round_) == [("failure", "remedied")]
    end_job(work, round_)
    assert state_of(round_) == RoundState.LABELING
    with pytest.raises(Conflict, match="only a failed one is retried"):
        gate_decisions.retry(work, round_, "smaller_batch", actor_id=None)


def test_without_a_proposal_a_stage_is_retried_as_it_was(work: Session, project: Project) -> None:
    round_ = launch(work, project)
    end_job(work, round_, fails=True)
    assert gate_decisions.proposals(work, round_) == ()
    gate_decisions.retry(work, round_, "", actor_id=None)
    assert keys(work, round_) == ["generate"]


def test_a_remedy_that_cannot_be_carried_out_changes_nothing(
    work: Session, project: Project
) -> None:
    round_ = launch(work, project)
    end_job(work, round_, result=WASTED)
    plan = dict(round_.plan)
    for prompt in work.scalars(select(Prompt).where(Prompt.split == Split.TEST)):
        prompt.split = Split.TRAIN
    work.flush()
    with pytest.raises(Invalid, match="no prompt in the test split"):
        gate_decisions.take(work, round_, Gate.PREFLIGHT, "longer", note="", actor_id=None)
    assert round_.plan == plan
    assert outcomes(work, round_) == [("preflight", str(GateOutcome.WAITING))]


def test_a_base_model_shows_no_gates(work: Session, project: Project) -> None:
    base = checkpoints.register_base(work, project, "some/base")
    assert gate_views.of_checkpoint(work, base) == ()

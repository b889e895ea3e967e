"""The plan of the demo fits the grammar and has the steps that it states."""

from app.demo import grammar
from app.demo.plan import DemoPlan
from app.domain.plan import RoundPlan

PLAN = DemoPlan()


def _round() -> RoundPlan:
    return RoundPlan.from_json(PLAN.round_plan(1))


def test_the_grammar_has_enough_questions_for_the_whole_run() -> None:
    assert PLAN.demonstrations + PLAN.prompts <= grammar.CAPACITY


def test_no_stage_runs_out_of_data_before_its_steps() -> None:
    plan = _round()
    assert plan.sft is not None
    # Four fifths of all prompts are there to learn from.
    learnt = PLAN.demonstrations * 4 // 5
    assert plan.sft.steps(learnt).total == plan.sft.max_steps
    assert plan.policy.steps(learnt).total == plan.policy.max_steps


def test_enough_prompts_are_held_out_to_tell_new_from_old() -> None:
    assert 200 <= _round().evaluation.prompts <= PLAN.demonstrations // 10


def test_the_seed_reaches_the_round() -> None:
    assert RoundPlan.from_json(PLAN.round_plan(7)).seed == 7

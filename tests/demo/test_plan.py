"""The first run's plan fits the grammar and comes to the steps it states."""

from app.demo import grammar, taste
from app.demo.plan import DemoPlan

PLAN = DemoPlan()


def test_the_grammar_has_enough_questions_for_the_whole_run() -> None:
    assert grammar.CAPACITY >= PLAN.all_prompts


def test_the_round_takes_exactly_the_steps_stated() -> None:
    plan = PLAN.round_plan()
    assert plan.sft is not None
    assert plan.sft.steps(PLAN.demonstrations).total == PLAN.sft_steps
    assert plan.policy.steps(PLAN.prompts).total == PLAN.policy_steps


def test_enough_prompts_are_held_out_to_tell_new_from_old() -> None:
    assert PLAN.round_plan().evaluation.prompts >= 200
    assert PLAN.taste in taste.names()


def test_the_plan_survives_json() -> None:
    plan = PLAN.round_plan()
    assert type(plan).from_json(plan.to_json()) == plan

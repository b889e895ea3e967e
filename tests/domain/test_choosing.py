"""Rules that choose comparisons: what each prefers, and what is said of a chosen one."""

import math

import pytest

from app.domain import choosing
from app.domain.choosing import ChoicePlan, ChoiceRule, Chosen
from app.errors import Invalid

AGREED = [[2.0, 0.0], [2.0, 0.0]]
EVEN = [[0.1, 0.1], [0.1, 0.1]]
DISPUTED = [[2.0, 0.0], [0.0, 2.0]]
SOURCES = ["new", "old"]


@pytest.mark.parametrize(
    ("rule", "best", "value"),
    [
        (ChoiceRule.DISAGREEMENT, DISPUTED, 2.0),
        (ChoiceRule.UNCERTAINTY, EVEN, 1.0),
        (ChoiceRule.INFORMATION, DISPUTED, 0.3279),
        (ChoiceRule.POLICIES, AGREED, 2.0),
    ],
)
def test_a_rule_finds_its_own_kind_worthiest(rule: ChoiceRule, best: object, value: float) -> None:
    pool = [AGREED, EVEN, DISPUTED]
    worths = [choosing.worth(rule, scores, SOURCES) for scores in pool]
    assert pool[choosing.order(worths)[0]] is best
    assert max(worths) == pytest.approx(value, abs=1e-4)


def test_information_is_ln_2_where_models_contradict_each_other_and_0_where_they_agree() -> None:
    assert choosing.information([[50.0, 0.0], [0.0, 50.0]]) == pytest.approx(math.log(2))
    assert choosing.information(AGREED) == pytest.approx(0.0)


def test_an_offset_of_all_scores_of_a_model_changes_no_worth() -> None:
    moved = [[score + 7.0 for score in own] for own in DISPUTED]
    for rule in ChoiceRule:
        before, after = (choosing.worth(rule, s, SOURCES) for s in (DISPUTED, moved))
        assert before == pytest.approx(after)


def test_policies_are_compared_by_their_means_and_one_alone_has_no_gap() -> None:
    scores = [[3.0, 1.0, 0.0, 0.0]]
    assert choosing.policies(scores, ["new", "new", "old", "old"]) == pytest.approx(2.0)
    assert choosing.policies(scores, ["new"] * 4) == 0.0


def test_equal_worths_keep_the_random_order_of_the_pool() -> None:
    assert choosing.order([0.0, 1.0, 0.0, 1.0]) == [1, 3, 0, 2]


def test_a_plan_counts_the_chosen_and_samples_a_pool_for_them() -> None:
    plan = ChoicePlan(ChoiceRule.UNCERTAINTY, share=0.8, pool=4)
    assert (plan.count(10), plan.sampled(10)) == (8, 34)
    assert (ChoicePlan().count(10), ChoicePlan().sampled(10)) == (0, 10)


@pytest.mark.parametrize(("name", "value"), [("share", 0.81), ("pool", 1)])
def test_a_fifth_is_always_random_and_a_pool_is_larger_than_what_is_chosen(
    name: str, value: float
) -> None:
    with pytest.raises(Invalid, match=f"choose {name} must be .* {value}"):
        ChoicePlan(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [rule for rule in ChoiceRule if rule is not ChoiceRule.RANDOM])
def test_the_reason_names_the_model_the_worth_and_the_place(rule: ChoiceRule) -> None:
    said = choosing.why(Chosen(rule, 0.8, 40, 400, "Reward 3").to_json())
    assert said.startswith("chosen: ")
    assert "Reward 3" in said
    assert "0.80" in said
    assert said.endswith("top 10 % of 400")


def test_what_no_rule_chose_was_drawn_at_random() -> None:
    assert choosing.why(None) == "drawn at random"

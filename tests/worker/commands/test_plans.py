"""Settings from the command line end up where a job would look for them."""

import pytest

from app.domain.plan import Parallel, RoundPlan
from app.errors import Invalid
from worker.commands.options import Training
from worker.commands.plans import plan_of


def test_nothing_given_is_what_a_job_has() -> None:
    assert plan_of("reward", {"epochs": None}, []) == RoundPlan()


def test_plain_names_are_the_sections_and_dotted_ones_may_be_anothers() -> None:
    settings = ["lora.r=4", "sampling.max_new_tokens=9", "batch-size=3", "is_kl_adaptive=true"]
    plan = plan_of("policy", {"epochs": 2, "seed": 5}, settings)
    assert (plan.policy.lora.r, plan.sampling.max_new_tokens, plan.policy.batch_size) == (4, 9, 3)
    assert (plan.policy.epochs, plan.seed, plan.policy.is_kl_adaptive) == (2, 5, True)


def test_four_bits_are_the_plans_own_and_no_sections() -> None:
    assert plan_of("reward", {"four_bit": True}, []).four_bit
    assert plan_of("reward", {"parallel": "sharded"}, []).parallel is Parallel.SHARDED
    assert plan_of("reward", {}, ["four_bit=true"]).four_bit
    with pytest.raises(Invalid, match="a model in 4 bits cannot be trained in full"):
        plan_of("sft", {"four_bit": True, "is_full": True}, [])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("epoch=2", "plan reward has no setting 'epoch'; the settings are"),
        ("epochs=0", "reward epochs must be 1 to 10000, not 0"),
        ("epochs=many", "must be a value of type int, not 'many'"),
        ("epochs", "a setting is name=value, not 'epochs'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule_and_value(setting: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        plan_of("reward", {}, [setting])


@pytest.mark.parametrize(("text", "rate"), [("auto", None), ("0.003", 0.003), ("2e-4", 2e-4)])
def test_a_learning_rate_is_a_number_or_left_to_the_training(text: str, rate: float | None) -> None:
    given = Training(learning_rate=text).given
    assert given["learning_rate"] == rate
    assert plan_of("reward", given, []).reward.learning_rate == rate


def test_another_word_for_a_learning_rate_is_refused() -> None:
    with pytest.raises(Invalid, match="must be a number or auto, not 'best'"):
        _ = Training(learning_rate="best").given

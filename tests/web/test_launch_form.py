import pytest

from app.domain.plan import Algorithm, PolicyPlan, RewardPlan, RoundPlan
from app.domain.reward_parts import PartKind, RewardPart
from app.errors import Invalid
from app.web.launch_form import LaunchForm

CLASSIFIER = RewardPart(
    PartKind.CLASSIFIER, -2.0, model="some/model", label="toxic", reads_prompt=True
)
LENGTH = RewardPart(PartKind.LENGTH, 0.5, shortest=3, longest=40)
FORMAT = RewardPart(PartKind.FORMAT, pattern=r"^\d+$")
OTHER = RewardPart(PartKind.LENGTH, 3.0, longest=100)


@pytest.mark.parametrize(
    "plan",
    [
        RoundPlan(),
        RoundPlan(
            sft=None,
            reward=RewardPlan(weight=0.5, parts=(CLASSIFIER, LENGTH, FORMAT)),
            policy=PolicyPlan(algorithm=Algorithm.RLOO, samples=8),
        ),
        RoundPlan(reward=RewardPlan(weight=0.0, parts=(LENGTH, OTHER))),
    ],
)
def test_a_plan_survives_the_form(plan: RoundPlan) -> None:
    shown = LaunchForm.of(plan).model_dump(exclude_none=True)
    sent = {name: "" if value == "" else str(value) for name, value in shown.items()}
    sent = {name: value for name, value in sent.items() if value != "False"}  # as browsers do
    assert LaunchForm.model_validate(sent).plan(plan) == plan


def test_what_was_emptied_is_left_out_and_further_parts_stay() -> None:
    before = RoundPlan(reward=RewardPlan(parts=(LENGTH, OTHER, FORMAT)))
    form = LaunchForm.of(before).model_copy(
        update={"length_shortest": 0, "length_longest": None, "pattern": ""}
    )
    assert form.plan(before).reward.parts == (OTHER,)


def test_a_part_that_breaks_a_rule_is_refused_by_name() -> None:
    form = LaunchForm(length_shortest=9, length_longest=4)
    with pytest.raises(Invalid, match="longest answer of the length reward is 4"):
        form.plan(RoundPlan())

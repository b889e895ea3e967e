"""The three choices of a launch, as functions of what a project has."""

from dataclasses import replace

import pytest

from app.domain import launch_sizes
from app.domain.launch_choice import ChoiceName, LaunchChoice
from app.domain.launch_sizes import ProjectData
from app.domain.plan import PolicyPlan, RoundPlan

ENOUGH = ProjectData(train=20_000, validation=1000, test=1000, labelers=9, overlap=2)
QUICK, BALANCED, THOROUGH = ChoiceName


def test_balanced_is_what_a_plan_has_by_default_and_the_others_do_less_and_more() -> None:
    plans = [launch_sizes.applied(name, ENOUGH) for name in ChoiceName]
    assert replace(plans[1], choice=None) == RoundPlan()
    for amount in (
        lambda plan: plan.prompts,
        lambda plan: plan.heldout_prompts,
        lambda plan: plan.candidates,
        lambda plan: plan.overlap or ENOUGH.overlap,
        lambda plan: plan.reward.search_share,
        lambda plan: plan.policy.prompts,
        lambda plan: plan.policy.steps(50).total,
        lambda plan: plan.evaluation.prompts,
    ):
        quick, balanced, thorough = map(amount, plans)
        assert quick < balanced < thorough
    assert [plan.choice for plan in plans] == [LaunchChoice(name) for name in ChoiceName]


@pytest.mark.parametrize("name", list(ChoiceName))
@pytest.mark.parametrize("there", [1, 17, 120, 700])
@pytest.mark.parametrize("labelers", [0, 1, 2, 5])
def test_no_choice_asks_for_more_than_there_is(name: ChoiceName, there: int, labelers: int) -> None:
    data = ProjectData(there, there, there, labelers=labelers, overlap=3, k=9)
    plan = launch_sizes.applied(name, data)
    asked = (plan.prompts, plan.heldout_prompts, plan.policy.prompts, plan.evaluation.prompts)
    assert max(asked) <= there
    assert plan.candidates >= data.k
    wanted = plan.overlap or data.overlap
    assert labelers == 0 or wanted <= labelers


def test_what_is_reduced_is_named_with_the_reason() -> None:
    data = ProjectData(train=60, validation=0, test=1, labelers=1, overlap=3)
    plan = launch_sizes.applied(BALANCED, data)
    assert plan.choice is not None
    assert plan.choice.reduced == (
        "60 prompts to label instead of 400: the train split has no more",
        "1 judgment per comparison instead of 3: there is one labeler",
        "0 prompts to hold out instead of 100: the validation split has no more",
        "1 prompt to evaluate on instead of 200: the test split has no more",
    )


@pytest.mark.parametrize(
    ("demonstrations", "batch", "steps"),
    [(0, 64, 0), (40, 8, 15), (300, 16, 57), (1067, 64, 51), (5600, 64, 264)],
)
def test_few_demonstrations_are_trained_on_in_small_steps(
    demonstrations: int, batch: int, steps: int
) -> None:
    plan = launch_sizes.applied(BALANCED, replace(ENOUGH, demonstrations=demonstrations))
    assert plan.sft is not None
    assert plan.choice is not None
    assert plan.sft.batch_size == batch
    assert not demonstrations or plan.sft.steps(demonstrations).total == steps
    assert len(plan.choice.reduced) == (batch < 64)
    if demonstrations == 300:
        assert plan.choice.reduced == (
            "16 demonstrations in a step of SFT instead of 64, which would make only 15 steps "
            "of 300",
        )


@pytest.mark.parametrize(("judged", "prompts"), [(0, 400), (1, 400), (200, 300), (5000, 200)])
def test_judged_comparisons_save_up_to_half_of_the_prompts(judged: int, prompts: int) -> None:
    plan = launch_sizes.applied(BALANCED, replace(ENOUGH, judged=judged))
    assert plan.prompts == prompts
    assert plan.choice is not None
    assert bool(plan.choice.reduced) == (prompts < 400)


def test_what_is_changed_is_recorded_and_what_comes_from_the_project_is_not() -> None:
    plan = launch_sizes.applied(BALANCED, ENOUGH)
    own = replace(plan, seed=7, reward=replace(plan.reward, labelers=()))
    assert launch_sizes.recorded(own, BALANCED, ENOUGH).choice == LaunchChoice(BALANCED)
    changed = replace(plan, sft=None, policy=replace(plan.policy, kl_coefficient=0.2), prompts=300)
    recorded = launch_sizes.recorded(changed, BALANCED, ENOUGH)
    assert recorded.choice is not None
    assert recorded.choice.words == (
        "Balanced, changed: policy KL coefficient 0.2 instead of 0.1; prompts 300 instead of 400; "
        "SFT none instead of on"
    )
    assert RoundPlan.from_json(recorded.to_json()) == recorded
    after_sft = launch_sizes.recorded(changed, BALANCED, replace(ENOUGH, does_sft=False))
    assert after_sft.choice is not None
    assert not any("sft" in text for text in after_sft.choice.changed)


def test_asking_for_more_than_there_is_is_no_change_where_the_choice_asks_for_as_many() -> None:
    few = ProjectData(train=60, validation=10, test=6, judged=30)
    recorded = launch_sizes.recorded(RoundPlan(), BALANCED, few)  # a launch without a choice
    assert recorded.choice is not None
    assert recorded.choice.changed == ()
    moved = launch_sizes.moved(RoundPlan(), BALANCED, QUICK, few)
    assert moved == replace(launch_sizes.applied(QUICK, few), choice=None)
    for plan, data, changed in (
        (replace(RoundPlan(), prompts=401), few, "prompts 401 instead of 60"),
        (RoundPlan(), replace(ENOUGH, judged=200), "prompts 400 instead of 300"),
    ):
        choice = launch_sizes.recorded(plan, BALANCED, data).choice
        assert choice is not None
        assert choice.changed == (changed,)


def test_another_choice_keeps_what_was_changed_of_the_one_before() -> None:
    plan = replace(launch_sizes.applied(BALANCED, ENOUGH), candidates=5)
    plan = replace(plan, policy=replace(plan.policy, kl_coefficient=0.2))
    moved = launch_sizes.moved(plan, BALANCED, THOROUGH, ENOUGH)
    whole = launch_sizes.applied(THOROUGH, ENOUGH)
    assert (moved.candidates, moved.policy.kl_coefficient) == (5, 0.2)
    assert (moved.prompts, moved.overlap) == (whole.prompts, whole.overlap)
    assert launch_sizes.moved(moved, THOROUGH, BALANCED, ENOUGH) == replace(plan, choice=None)


def test_the_next_round_takes_its_choice_for_what_there_is_then() -> None:
    few = replace(ENOUGH, train=60)
    plan = replace(launch_sizes.applied(BALANCED, few), policy=PolicyPlan(prompts=50))
    plan = launch_sizes.recorded(plan, BALANCED, few)
    renewed = launch_sizes.renewed(plan, ENOUGH)
    assert (renewed.prompts, renewed.policy.prompts) == (400, 50)
    assert launch_sizes.renewed(RoundPlan(prompts=7), ENOUGH).prompts == 7

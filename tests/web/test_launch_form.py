from dataclasses import replace

import pytest

from app.domain.allowed_servers import AllowedServers
from app.domain.choosing import ChoicePlan, ChoiceRule
from app.domain.plan import (
    Algorithm,
    Engine,
    Parallel,
    PolicyPlan,
    RoundPlan,
    Sampling,
    SftPlan,
)
from app.domain.reward_parts import LabelerWeight, PartKind, RewardPart, ScoreForm, WeightSource
from app.domain.reward_plan import Combination, RewardPlan
from app.domain.server_plan import SamplingServerPlan, ServerPlan
from app.errors import Invalid
from app.web import part_rows
from app.web.launch_form import LaunchForm
from app.web.part_rows import PartRow

CLASSIFIER = RewardPart(
    PartKind.CLASSIFIER, -2.0, model="some/model", label="toxic", reads_prompt=True
)
LENGTH = RewardPart(PartKind.LENGTH, 0.5, shortest=3, longest=40)
HELPFUL = RewardPart(PartKind.REWARD_MODEL, 0.5, name="helpfulness", model="other/Reward 2")
SAFE = RewardPart(
    PartKind.CLASSIFIER, name="safety", model="m", label="ok", score=ScoreForm.PROBABILITY
)
ENDPOINT = RewardPart(PartKind.ENDPOINT, 2.0, url="https://scorer/score", at_least=-0.5)
JUDGE = RewardPart(
    PartKind.JUDGE, 0.5, name="kind", model="m", url="https://judge/v1", rubric="Be kind.\nOr else."
)
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
        RoundPlan(choose=ChoicePlan(ChoiceRule.INFORMATION, 0.3, 5)),
        RoundPlan(
            reward=RewardPlan(
                weight=0.0,
                fits_unweighted=True,
                parts=(CLASSIFIER, HELPFUL, SAFE, ENDPOINT, JUDGE, LENGTH),
                combination=Combination.SAFETY_FIRST,
                safety="safety",
                safety_threshold=0.3,
                safety_tags=("red team", "safety"),
            )
        ),
        RoundPlan(
            sampling=Sampling(engine=Engine.CONTINUOUS),
            server=ServerPlan("http://gpu-1:8001/v1", "some/model", 2, False, 16),
            four_bit=True,
            token_budget=4096,
            processes=3,
        ),
        RoundPlan(parallel=Parallel.SHARDED),
        RoundPlan(server=ServerPlan("https://gpu-1", "m")),
        RoundPlan(sampling_server=SamplingServerPlan("https://gpu-1", "m", 2, 64, 5, 0.05)),
        RoundPlan(reward=RewardPlan(epochs=2, learning_rate=7e-4, search_share=0.4)),
        RoundPlan(
            sft=SftPlan(learning_rate=7e-4, search_share=0.1), policy=PolicyPlan(steps_least=7)
        ),
    ],
)
def test_a_plan_survives_the_form(plan: RoundPlan) -> None:
    shown = LaunchForm.of(plan).model_dump(exclude_none=True)
    sent = {
        name: value if isinstance(value, list) else str(value)
        for name, value in shown.items()
        if value is not False  # as browsers do
    }
    assert LaunchForm.model_validate(sent).plan(plan) == plan


def test_labeler_weights_keep_their_source_until_they_are_changed() -> None:
    labelers = (LabelerWeight("L2", 0.5), LabelerWeight("L3", 1.5))
    before = RoundPlan(reward=RewardPlan(labelers=labelers, labelers_from=WeightSource.PROJECT))
    form = LaunchForm.of(before)
    assert form.plan(before) == before
    changed = form.model_copy(update={"labeler_weights": "L2 0.5"}).plan(before).reward
    assert (changed.labelers, changed.labelers_from) == (labelers[:1], WeightSource.PLAN)
    emptied = form.model_copy(update={"labeler_weights": ""}).plan(before).reward
    assert (emptied.labelers, emptied.labelers_from) == ((), WeightSource.PLAN)
    wrong = form.model_copy(update={"labeler_weights": "L2 1, L2 2"})
    assert wrong.problems(before, AllowedServers()) == {
        "labeler_weights": "labeler L2 must have one weight, not 2"
    }


def test_what_was_emptied_is_left_out_and_further_parts_stay() -> None:
    before = RoundPlan(reward=RewardPlan(parts=(LENGTH, OTHER, FORMAT)))
    form = LaunchForm.of(before).model_copy(
        update={"length_shortest": 0, "length_longest": None, "pattern": ""}
    )
    assert form.plan(before).reward.parts == (OTHER,)


def test_a_part_that_breaks_a_rule_is_refused_by_name() -> None:
    form = LaunchForm(length_shortest=9, length_longest=4)
    with pytest.raises(Invalid, match="longest response of the length reward is 4"):
        form.plan(RoundPlan())


def test_an_emptied_server_is_asked_no_more() -> None:
    before = RoundPlan(server=ServerPlan("http://gpu-1", "m"), four_bit=True, processes=2)
    before = replace(before, token_budget=512)
    form = LaunchForm.model_validate({"sft": "1", "server_url": "", "server_model": " "})
    plan = form.plan(before)
    assert (plan.server, plan.four_bit, plan.processes) == (None, False, None)
    assert plan.token_budget is None


def test_every_field_that_breaks_a_rule_is_named_by_itself() -> None:
    form = LaunchForm(
        sft=True,
        four_bit=True,
        token_budget=63,
        processes=65,
        server_url="gpu-1",
        server_candidates=0,
        server_concurrency=257,
        sampler_url="gpu-2",
        sampler_publish_every=0,
    )
    before = RoundPlan(sft=SftPlan(is_full=True))
    assert form.problems(before, AllowedServers()) == {
        "four_bit": "a model in 4 bits cannot be trained in full; SFT needs an adapter",
        "processes": "processes must be 1 to 64, not 65",
        "token_budget": "token_budget must be 64 to 10000000, not 63",
        "server_url": "server url must begin with http:// or https://, not 'gpu-1'",
        "server_model": "server model must have 1 to 100 characters",
        "server_candidates": "server candidates must be 1 to 64, not 0",
        "server_concurrency": "server concurrency must be 1 to 256, not 257",
        "sampler_url": "sampling_server url must begin with http:// or https://, not 'gpu-2'",
        "sampler_model": "sampling_server model must have 1 to 100 characters",
        "sampler_publish_every": "sampling_server publish_every must be 1 to 1000, not 0",
    }
    assert LaunchForm.of(RoundPlan()).problems(RoundPlan(), AllowedServers()) == {}
    divided = LaunchForm(four_bit=True, parallel=Parallel.SHARDED)
    assert divided.problems(RoundPlan(), AllowedServers()) == {
        "parallel": "a model in 4 bits cannot be divided: parallel must be data, not sharded"
    }
    with pytest.raises(Invalid, match="server url must begin with"):
        form.model_copy(update={"four_bit": False}).plan(RoundPlan())


def test_machines_are_those_of_the_form_and_not_of_the_round_before() -> None:
    wanted = RoundPlan(
        sampling=Sampling(engine=Engine.CONTINUOUS),
        server=ServerPlan("http://gpu-1", "m"),
        sampling_server=SamplingServerPlan("http://gpu-2", "m"),
        four_bit=True,
        token_budget=4096,
        processes=1,
    )
    assert LaunchForm.of(wanted).plan(RoundPlan()) == wanted
    assert LaunchForm.of(RoundPlan()).plan(wanted) == RoundPlan()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"weight": "much"}, "the weight of some/model must be a number, not 'much'"),
        ({"at_least": "some"}, "the floor of some/model must be a number, not 'some'"),
        ({"kind": "oracle"}, "'oracle' is no kind of reward"),
        ({"kind": "judge"}, "url of a judge reward must begin with http:// .*, not 'some/model'"),
        ({"kind": "judge", "source": "http://h/v1"}, "a judge reward needs a model: its name on"),
        ({"kind": "endpoint"}, "must begin with http:// or https://, not 'some/model'"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused_by_name(row: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        PartRow(**{"source": "some/model", **row}).part()


def test_a_rubric_comes_back_with_plain_line_ends() -> None:
    row = PartRow(kind="judge", source="http://h/v1", judge="m", rubric="Be kind.\r\nOr else.\r\n")
    assert row.part().rubric == "Be kind.\nOr else."
    assert PartRow(source="m", rubric="left over").part().rubric == ""


def test_rows_without_a_source_are_left_out_and_rows_with_gaps_are_refused() -> None:
    lists = part_rows.lists_of([CLASSIFIER, HELPFUL])
    form = LaunchForm.model_validate(lists | {"part_source": ["some/model", ""]})
    assert form.plan(RoundPlan()).reward.parts == (CLASSIFIER,)
    form = LaunchForm.model_validate(lists | {"part_source": ["some/model"]})
    with pytest.raises(Invalid, match="the rows of the rewards are incomplete"):
        form.plan(RoundPlan())

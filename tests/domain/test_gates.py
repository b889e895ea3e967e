"""When gates fire, what they say, and that every remedy is a plan that can be carried out."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from app.domain.gate_policies import CHECKS, Gate, GatePolicies, GatePolicy
from app.domain.gates import candidates, judging, table, verdicts
from app.domain.gates.candidates import EndingFigures, PreflightFigures
from app.domain.gates.failures import FailureFigures
from app.domain.gates.judging import EvaluationFigures, LabelerFigures
from app.domain.gates.learning import LeftOutFigures, PolicyFigures, RewardFigures, enough_tokens
from app.domain.gates.verdicts import Figures
from app.domain.plan import PolicyPlan, Preflight, RoundPlan
from app.domain.states import RoundState
from app.errors import Invalid, NotFound

PLAN = RoundPlan()
CUT_OFF = PreflightFigures(330, 63, 70, 290, 0, 1320, 900, 20, 0.62, has_spares=False)
REWARD = RewardFigures(60, 0.71, 0.65, 0.77, "longer", 0.52, 0.09, 50, 330)
POLICY = PolicyFigures(30, 25, 2.1, 0.02, 0.80)
LEFT_OUT = LeftOutFigures(
    "comparisons", RoundState.REWARD, 31, 30, 0, "reward.max_tokens", 1024, 2048
)


def test_preflight_that_leaves_too_little_says_what_would_help() -> None:
    verdict = CUT_OFF.verdict(PLAN)
    assert verdict.fires
    assert verdict.figure == "63 of 330 prompts kept (19 %)"
    assert "900 of 1,320 candidates were cut off" in verdict.reason
    assert "Replacements were not sampled" in verdict.reason
    keep, longer = verdict.remedies
    assert (keep.key, keep.changes) == ("keep_cut_off", {"preflight.drop_cut_off": False})
    assert keep.effect.startswith("Keeps 290 of 330 prompts.")
    assert longer.changes == {"sampling.max_new_tokens": 2 * PLAN.sampling.max_new_tokens}
    assert "62 %" in longer.effect
    assert not replace(CUT_OFF, kept=231, expected=231).verdict(PLAN).fires
    assert replace(CUT_OFF, kept=230, expected=230).verdict(PLAN).fires
    assert not replace(CUT_OFF, expected=300).verdict(PLAN).fires, "spares may still help"


def test_candidates_that_are_alike_are_sampled_warmer() -> None:
    alike = replace(CUT_OFF, cut_off=0, alike=700, keeping_cut_off=63)
    assert [remedy.key for remedy in alike.verdict(PLAN).remedies] == ["warmer"]


def test_a_model_that_never_ends_is_told_from_one_that_is_cut_off_early() -> None:
    endless = EndingFigures(400, 3, 128, 50, has_sft=False)
    plan = replace(PLAN, sft=None)  # as it is carried out where SFT was left out
    verdict = endless.verdict(plan)
    assert verdict.fires
    assert verdict.can_wait
    assert [remedy.key for remedy in verdict.remedies] == ["sft", "keep_cut_off", "longer"]
    tuned = replace(endless, has_sft=True).verdict(plan)
    assert [remedy.key for remedy in tuned.remedies] == ["keep_cut_off", "longer"]
    assert not replace(endless, ended=20).verdict(PLAN).fires
    assert not EndingFigures(0, 0, 128, 0, has_sft=False).verdict(PLAN).fires
    keeps = replace(PLAN, preflight=Preflight(drop_cut_off=False))
    assert not endless.verdict(keeps).can_wait, "whoever keeps such responses knows"


def test_the_share_that_ends_within_twice_the_limit_is_that_of_an_exponential_tail() -> None:
    limit, rate, total = 100, 0.01, 10_000
    cdf = [1 - math.exp(-rate * t) for t in range(limit + 1)]
    by_then = [round(total * share) for share in cdf]
    lengths = [t for t in range(1, limit + 1) for _ in range(by_then[t] - by_then[t - 1])]
    found = candidates.ending_by_double(lengths, total - len(lengths), limit)
    assert found == pytest.approx(1 - math.exp(-rate * 2 * limit), abs=0.005)
    assert candidates.ending_by_double([10, 20], 5, limit) is None, "none ended late"
    assert candidates.ending_by_double([10, 20], 0, limit) == 1.0


def test_expected_prompts_are_the_mean_over_all_outcomes_of_the_spares() -> None:
    usable, k, spares, rate = [0, 1, 2, 5], 3, 2, 0.3
    expected = 0.0
    for count in usable:
        for draws in product([0, 1], repeat=spares):
            chance = math.prod(rate if hit else 1 - rate for hit in draws)
            expected += chance * (count + sum(draws) >= k)
    assert candidates.expected_kept(usable, k, spares, rate) == pytest.approx(expected)
    assert candidates.expected_kept(usable, k, 0, rate) == 1


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        (REWARD, ""),
        (replace(REWARD, accuracy=0.54, low=0.37, high=0.72), "not above chance"),
        (replace(REWARD, accuracy=0.58, low=0.47, high=0.67), "not above chance"),
        (replace(REWARD, accuracy=0.36, low=0.2, high=0.52), "not above chance"),
        (replace(REWARD, over_length_low=-0.01), "“the longer response wins”"),
        (replace(REWARD, over_length_low=None, length_accuracy=0.72), "learn length"),
        (replace(REWARD, low=None, high=None), ""),
        (replace(REWARD, accuracy=None, low=None), "Nothing held out could be measured"),
        (replace(REWARD, accuracy=None, low=None, wanted=0), ""),
    ],
)
def test_a_reward_model_must_beat_chance_and_length(figures: RewardFigures, says: str) -> None:
    verdict = figures.verdict(PLAN)
    assert verdict.fires == bool(says)
    assert says in verdict.reason


def test_more_judgments_says_how_many_prompts_are_added() -> None:
    """And not how many there are then, which reads as if all of them were to be judged anew."""
    failed = replace(REWARD, accuracy=0.5, low=0.4, high=0.6)
    remedy = failed.verdict(RoundPlan(prompts=14, heldout_prompts=6)).remedies[0]
    assert remedy.label == "Collect judgments on 14 more prompts"
    assert "44 more from the validation split" in remedy.effect
    assert remedy.changes == {"prompts": 28, "heldout_prompts": 50}


@pytest.mark.parametrize(
    ("trained_with", "key", "changes"),
    [
        ({}, "search_longer", {"reward.learning_rate": None, "reward.search_share": 0.4}),
        ({"rate": 1e-3, "is_searched": True}, "search_longer", {"reward.search_share": 0.4}),
        ({"rate": 1e-3, "epochs": 2}, "train_harder", {"reward.learning_rate": 3e-3}),
    ],
)
def test_training_again_searches_longer_where_the_rate_was_found(
    trained_with: dict[str, Any], key: str, changes: dict[str, Any]
) -> None:
    failed = replace(REWARD, accuracy=0.5, low=0.4, high=0.6, **trained_with)
    remedy = failed.verdict(PLAN).remedies[-1]
    assert remedy.key == key
    assert changes.items() <= remedy.changes.items()
    assert remedy.changes["reward.epochs"] == (3 if "epochs" in trained_with else 10)


@pytest.mark.parametrize(
    ("figures", "remedy"),
    [
        (POLICY, None),
        (replace(POLICY, best_step=0), "slower"),
        (replace(POLICY, kl_nats=0.004, reward_after=0.3), "faster"),
        (replace(POLICY, reward_after=0.05), "slower"),
    ],
)
def test_a_policy_must_have_moved_and_gained(figures: PolicyFigures, remedy: str | None) -> None:
    verdict = figures.verdict(PLAN)
    assert verdict.fires == (remedy is not None)
    if remedy is not None:
        assert verdict.remedies[0].key == remedy


def test_data_left_out_is_named_with_a_limit_that_keeps_it() -> None:
    verdict = LEFT_OUT.verdict(PLAN)
    assert verdict.fires
    assert verdict.figure == "1 of 31 comparisons used (3 %)"
    assert verdict.remedy("limit").changes == {"reward.max_tokens": 2048}
    assert not replace(LEFT_OUT, too_long=9).verdict(PLAN).fires
    assert replace(LEFT_OUT, too_long=0, refused=10).verdict(PLAN).fires
    assert replace(LEFT_OUT, enough=None).verdict(PLAN).remedies == ()
    with pytest.raises(NotFound, match=r"gate left_out has no remedy 'luck'; .*: limit"):
        verdict.remedy("luck")


@pytest.mark.parametrize(
    ("lengths", "most", "limit"),
    [([10] * 19 + [900], None, 64), ([65], None, 128), ([500], 400, None), ([390], 400, 400)],
)
def test_a_limit_keeps_nearly_all(lengths: list[int], most: int | None, limit: int | None) -> None:
    assert enough_tokens(lengths, most) == limit


def test_more_judgments_than_labelers_cannot_be_collected() -> None:
    verdict = LabelerFigures(3, 2).verdict(PLAN)
    assert verdict.fires
    assert verdict.remedy("fewer_judgments").changes == {"overlap": 2}
    other = LabelerFigures(3, 2, is_evaluation=True).verdict(PLAN)
    assert other.remedy("fewer_judgments").changes == {"evaluation.overlap": 2}
    assert not LabelerFigures(2, 2).verdict(PLAN).fires
    assert LabelerFigures(1, 0).verdict(PLAN).remedies == ()


def test_an_evaluation_is_too_small_if_its_interval_is_wide_and_holds_half() -> None:
    small = EvaluationFigures(0.55, 0.35, 0.75, 24, 500)
    plan = replace(PLAN, evaluation=replace(PLAN.evaluation, prompts=24))
    verdict = small.verdict(plan)
    assert verdict.fires
    assert verdict.remedy("more_prompts").changes == {"evaluation.prompts": 96}
    assert "±10 points" in verdict.remedy("more_prompts").effect
    assert not replace(small, low=0.52).verdict(plan).fires, "decided"
    assert not replace(small, low=0.46, high=0.64).verdict(plan).fires, "as narrow as can be asked"
    last = replace(small, available=24).verdict(plan)
    assert last.fires
    assert not last.can_wait, "nothing would come of it"
    assert replace(small, low=None, high=None).verdict(plan).fires


def test_a_small_evaluation_is_foreseen() -> None:
    assert judging.foreseen(judging.PROMPTS_LEAST) == ""
    assert "about 70 % or more" in judging.foreseen(24)
    assert "on 1 prompt cannot tell" in judging.foreseen(1)


ALL: tuple[Figures, ...] = (
    CUT_OFF,
    replace(CUT_OFF, alike=1000),
    EndingFigures(400, 3, 128, 50, has_sft=False),
    LEFT_OUT,
    replace(REWARD, low=0.4),
    replace(POLICY, best_step=0),
    replace(POLICY, kl_nats=0.0),
    LabelerFigures(3, 2),
    EvaluationFigures(0.5, 0.3, 0.7, 24, 500),
    FailureFigures(RoundState.POLICY, "OutOfMemoryError: CUDA out of memory"),
)


@pytest.mark.parametrize("figures", ALL, ids=lambda figures: type(figures).__name__)
@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, evaluation=replace(PLAN.evaluation, prompts=24)),
        replace(PLAN, sft=None, policy=PolicyPlan(max_steps=3, learning_rate=1.0, batch_size=1)),
    ],
    ids=["default", "extreme"],
)
def test_every_remedy_makes_a_plan(figures: Figures, plan: RoundPlan) -> None:
    for remedy in figures.verdict(plan).remedies:
        changed = verdicts.changed(plan, remedy.changes)
        assert changed != plan, remedy
        assert remedy.label
        assert remedy.effect.endswith(".")


@pytest.mark.parametrize("figures", ALL, ids=lambda figures: type(figures).__name__)
def test_figures_survive_being_stored(figures: Figures) -> None:
    gate = figures.verdict(PLAN).gate
    assert table.read(gate, table.to_json(figures)) == figures


@pytest.mark.parametrize(
    ("stage", "error", "keys"),
    [
        (
            RoundState.POLICY,
            "torch.OutOfMemoryError: CUDA out of memory.",
            ["smaller_batch", "recompute"],
        ),
        (RoundState.GENERATING, "CUDA out of memory", ["smaller_batch"]),
        (RoundState.POLICY, "ValueError: the loss is nan", ["slower"]),
        (RoundState.SFT, "the loss is not finite", []),
        (RoundState.GENERATING, "round 1 has nothing to compare: of 9", ["keep_cut_off", "longer"]),
        (RoundState.POLICY, "none of the 9 training prompts leaves room for 128", ["shorter"]),
        (RoundState.SFT, "all 9 demonstrations are longer than 1024 tokens", ["limit"]),
        (RoundState.LABELING, "ConnectionError: out of memory", []),
        (RoundState.POLICY, "OSError: no space left on device", []),
    ],
)
def test_a_failure_proposes_a_plan_that_avoids_it(
    stage: RoundState, error: str, keys: list[str]
) -> None:
    remedies = FailureFigures(stage, error).verdict(PLAN).remedies
    assert [remedy.key for remedy in remedies] == keys
    assert all(remedy.redo is stage for remedy in remedies if remedy.key != "keep_cut_off")


def test_a_batch_that_is_halved_keeps_to_the_rules_of_rloo() -> None:
    plan = verdicts.changed(
        PLAN, {"policy.algorithm": "rloo", "policy.batch_size": 12, "policy.samples": 4}
    )
    failed = FailureFigures(RoundState.POLICY, "out of memory").verdict(plan)
    smaller = failed.remedy("smaller_batch").changes
    assert verdicts.changed(plan, smaller).policy.batch_size == 4


def test_a_change_names_a_setting_of_the_plan() -> None:
    with pytest.raises(Invalid, match="no setting 'luck'"):
        verdicts.changed(PLAN, {"policy.luck": 1})
    with pytest.raises(Invalid, match="prompts must be 1 to"):
        verdicts.changed(PLAN, {"prompts": 0})


def test_policies_are_read_by_gate() -> None:
    plan = RoundPlan.from_json({"gates": {"preflight": "warn", "reward": "ignore"}})
    assert plan.gates.of(Gate.PREFLIGHT) is GatePolicy.WARN
    assert plan.gates.of(Gate.REWARD) is GatePolicy.IGNORE
    assert plan.gates.of(Gate.POLICY) is GatePolicy.WAIT
    assert {GatePolicies.all(GatePolicy.WARN).of(gate) for gate in CHECKS} == {GatePolicy.WARN}
    with pytest.raises(Invalid, match="plan gates reward must be one of wait, warn, ignore"):
        RoundPlan.from_json({"gates": {"reward": "never"}})


def test_every_gate_has_a_title_and_what_it_checks() -> None:
    assert set(table.TITLES) == set(Gate) == set(table.KINDS)
    assert set(table.CHECKED) == set(CHECKS)


def test_a_policy_that_chose_its_epochs_is_offered_twice_as_many() -> None:
    stuck = replace(POLICY, kl_nats=0.004, epochs=7).verdict(PLAN)
    (longer,) = [remedy for remedy in stuck.remedies if remedy.key == "longer_training"]
    assert longer.changes == {"policy.epochs": 14}

"""Reports on reward models, against figures worked out by hand."""

import math

import pytest

from worker.rlhf.core.examples import AbsoluteFeedback, PreferencePair, RankedPrompt
from worker.rlhf.reward import reward_report
from worker.rlhf.reward.reward_report import ScoredPrompt


def ranking(
    key: str, lengths: tuple[int, ...], *pairs: PreferencePair, **group: str
) -> RankedPrompt:
    return RankedPrompt(key, (1,), tuple((5,) * length for length in lengths), pairs, group)


LONG_WINS = ranking("a", (9, 2), PreferencePair(0, 1, 1.0), round="1")
SHORT_WINS = ranking("b", (9, 2), PreferencePair(0, 1, 0.0), round="2")
TIE = ranking("c", (4, 3), PreferencePair(0, 1, 0.5), round="2")


def test_accuracy_is_against_the_majority_and_leaves_ties_out() -> None:
    found = reward_report.report(
        [],
        [
            ScoredPrompt(LONG_WINS, (2.0, 1.0)),
            ScoredPrompt(SHORT_WINS, (2.0, 1.0)),
            ScoredPrompt(TIE, (0.0, 9.0)),
        ],
    )
    assert found.accuracy == 0.5
    assert found.pairs == 3


def test_vote_agreement_is_the_share_of_votes_on_the_models_side() -> None:
    split = ranking("d", (1, 1), PreferencePair(0, 1, 0.75))
    assert reward_report.report([], [ScoredPrompt(split, (1.0, 0.0))]).vote_agreement == 0.75
    assert reward_report.report([], [ScoredPrompt(split, (0.0, 1.0))]).vote_agreement == 0.25


def test_equal_scores_are_half_right_and_cost_ln_two() -> None:
    found = reward_report.report([], [ScoredPrompt(LONG_WINS, (1.0, 1.0))])
    assert found.accuracy == 0.5
    assert found.log_loss == pytest.approx(math.log(2))
    assert found.brier == pytest.approx(0.25)


def test_log_loss_and_brier_are_those_of_the_predicted_probability() -> None:
    split = ranking("d", (1, 1), PreferencePair(0, 1, 0.75))
    found = reward_report.report([], [ScoredPrompt(split, (math.log(4.0), 0.0))])
    assert found.log_loss == pytest.approx(-0.75 * math.log(0.8) - 0.25 * math.log(0.2))
    assert found.brier == pytest.approx((0.8 - 0.75) ** 2)


def test_log_loss_of_a_sure_mistake_is_finite() -> None:
    found = reward_report.report([], [ScoredPrompt(LONG_WINS, (-1000.0, 1000.0))])
    assert found.log_loss == pytest.approx(2000.0)


def test_the_length_rule_is_chosen_on_the_training_rankings() -> None:
    judged = [ScoredPrompt(LONG_WINS, (1.0, 0.0))]
    taught_short = reward_report.report([SHORT_WINS], judged)
    assert (taught_short.length_rule, taught_short.length_accuracy) == ("shorter", 0.0)
    taught_long = reward_report.report([LONG_WINS], judged)
    assert (taught_long.length_rule, taught_long.length_accuracy) == ("longer", 1.0)


def test_correlation_with_length_is_one_for_a_score_that_is_length() -> None:
    judged = ranking("e", (1, 5, 3), PreferencePair(0, 1, 1.0))
    found = reward_report.report([], [ScoredPrompt(judged, (2.0, 10.0, 6.0))])
    assert found.length_correlation == pytest.approx(1.0)
    against = reward_report.report([], [ScoredPrompt(judged, (-2.0, -10.0, -6.0))])
    assert against.length_correlation == pytest.approx(-1.0)
    flat = reward_report.report([], [ScoredPrompt(judged, (1.0, 1.0, 1.0))])
    assert flat.length_correlation == 0.0


def test_groups_are_judged_apart() -> None:
    found = reward_report.report(
        [], [ScoredPrompt(LONG_WINS, (2.0, 1.0)), ScoredPrompt(SHORT_WINS, (2.0, 1.0))]
    )
    assert [(each.value, each.accuracy) for each in found.groups] == [("1", 1.0), ("2", 0.0)]


def test_calibration_puts_each_pair_in_the_bin_of_its_probability() -> None:
    odds = math.log(0.83 / 0.17)
    found = reward_report.report(
        [], [ScoredPrompt(LONG_WINS, (odds, 0.0)), ScoredPrompt(SHORT_WINS, (odds, 0))]
    )
    (only,) = found.calibration
    assert (only.pairs, only.observed) == (2, 0.5)
    assert only.low < 0.83 < only.high
    assert only.predicted == pytest.approx(0.83)


def test_a_certain_prediction_falls_in_the_last_bin() -> None:
    (only,) = reward_report.report([], [ScoredPrompt(LONG_WINS, (1000.0, 0.0))]).calibration
    assert only.high == pytest.approx(1.0)


def test_scores_must_be_one_per_completion() -> None:
    with pytest.raises(ValueError, match="'a' has 2 completions and 1 scores"):
        ScoredPrompt(LONG_WINS, (1.0,))


def test_no_judged_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="none of 1 held-out prompts has a judged pair"):
        reward_report.report([], [ScoredPrompt(ranking("f", (1, 1)), (0.0, 0.0))])


def test_strengths_and_sources_are_those_of_each_pair() -> None:
    three = RankedPrompt(
        "t",
        (1,),
        ((5,), (5,), (5,)),
        (PreferencePair(0, 1, 1.0, strength=1.5), PreferencePair(0, 2, 1.0, strength=4.0)),
        {"round": "2"},
        sources=("SFT", "Policy 1", "SFT"),
    )
    found = reward_report.report([], [ScoredPrompt(three, (1.0, 2.0, 0.0))])
    assert {(each.name, each.value): (each.pairs, each.accuracy) for each in found.groups} == {
        ("round", "2"): (2, 0.5),
        ("strength", "2"): (1, 0.0),
        ("strength", "4"): (1, 1.0),
        ("sources", "Policy 1 / SFT"): (1, 0.0),
        ("sources", "SFT"): (1, 1.0),
    }


def test_calibration_error_is_the_distance_from_what_was_observed() -> None:
    sure = ranking("s", (1, 1), PreferencePair(0, 1, 0.75))
    found = reward_report.report([], [ScoredPrompt(sure, (math.log(9.0), 0.0))])
    assert found.calibration_error == pytest.approx(0.9 - 0.75)
    honest = ranking("h", (1, 1), PreferencePair(0, 1, 0.9))
    both = reward_report.report(
        [], [ScoredPrompt(each, (math.log(9.0), 0.0)) for each in (sure, honest)]
    )
    assert both.calibration_error == pytest.approx(0.15 / 2)


def test_a_thumb_is_judged_beside_a_score_of_zero_and_the_usual_length() -> None:
    def thumbed(length: int, thumb: float) -> RankedPrompt:
        return RankedPrompt(
            "t", (1,), ((5,) * length,), (), absolutes=(AbsoluteFeedback(thumb=thumb),)
        )

    taught = [thumbed(8, 1.0), thumbed(2, 0.0)]
    found = reward_report.report(
        taught, [ScoredPrompt(thumbed(9, 1.0), (2.0,)), ScoredPrompt(thumbed(6, 0.0), (0.5,))]
    )
    assert (found.pairs, found.accuracy) == (2, 0.5)
    assert found.log_loss == pytest.approx(
        (math.log1p(math.exp(-2)) + math.log1p(math.exp(0.5))) / 2
    )
    assert (found.length_rule, found.length_accuracy) == ("longer", 0.5)

"""Preference losses against closed forms, and the clipped objectives' gradients."""

import math

import pytest
import torch
from torch import Tensor

from worker.rlhf.core import losses

TOLERANCE = 1e-6


def one(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def preference(first: float, second: float, share: float, **options: float) -> float:
    return float(losses.preference(one(first), one(second), one(share), **options))


def test_equal_scores_cost_ln_two_whichever_side_won() -> None:
    for share in (0.0, 0.3, 0.5, 1.0):
        assert preference(1.2, 1.2, share) == pytest.approx(math.log(2))


def test_a_hard_preference_is_bradley_terry() -> None:
    wins = math.exp(2.0) / (math.exp(2.0) + math.exp(0.5))
    assert preference(2.0, 0.5, 1.0) == pytest.approx(-math.log(wins))
    assert preference(2.0, 0.5, 0.0) == pytest.approx(-math.log(1 - wins))


def test_swapping_the_completions_and_the_share_changes_nothing() -> None:
    assert preference(2.0, 0.5, 0.8, margin=0.3) == pytest.approx(
        preference(0.5, 2.0, 0.2, margin=0.3)
    )


def test_a_soft_target_is_least_where_the_odds_match_the_share() -> None:
    delta = torch.tensor([math.log(0.8 / 0.2)], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.preference(delta, one(0.0), one(0.8)).sum(), delta)
    assert float(gradient) == pytest.approx(0.0, abs=TOLERANCE)


def test_a_tie_costs_least_at_equal_scores() -> None:
    assert preference(0.0, 0.0, 0.5) < min(preference(0.5, 0.0, 0.5), preference(0.0, 0.5, 0.5))


def test_a_margin_asks_the_winner_to_lead_by_it() -> None:
    assert preference(1.0, 0.0, 1.0, margin=1.0) == pytest.approx(math.log(2))
    assert preference(0.0, 1.0, 0.0, margin=1.0) == pytest.approx(math.log(2))


def test_smoothing_is_the_chance_that_the_judgment_is_the_wrong_way_round() -> None:
    mixed = 0.9 * preference(2.0, 0.0, 1.0) + 0.1 * preference(2.0, 0.0, 0.0)
    assert preference(2.0, 0.0, 1.0, smoothing=0.1) == pytest.approx(mixed)


def test_large_differences_stay_finite() -> None:
    assert preference(1e4, -1e4, 0.0) == pytest.approx(2e4)


def test_centering_is_zero_for_opposite_scores_only() -> None:
    assert not losses.centering(one(1.5), one(-1.5)).any()
    assert float(losses.centering(one(1.0), one(2.0))) == 9.0


def test_plackett_luce_of_two_is_bradley_terry() -> None:
    scores, is_real = one(2.0, 0.5)[None], torch.ones(1, 2, dtype=torch.bool)
    found = losses.plackett_luce(scores, torch.tensor([[0, 1]]), is_real)
    assert float(found) == pytest.approx(preference(2.0, 0.5, 1.0))


def test_plackett_luce_of_a_tie_is_two_half_judgments_twice() -> None:
    scores, is_real = one(2.0, 0.5)[None], torch.ones(1, 2, dtype=torch.bool)
    found = losses.plackett_luce(scores, torch.tensor([[0, 0]]), is_real)
    assert float(found) == pytest.approx(2 * preference(2.0, 0.5, 0.5))


def test_plackett_luce_chooses_the_best_of_those_left_and_skips_absent_ones() -> None:
    scores = one(0.1, 0.9, -0.4, 77.0)[None]
    ranks, is_real = torch.tensor([[1, 0, 2, 0]]), torch.tensor([[True, True, True, False]])
    weight = [math.exp(value) for value in (0.1, 0.9, -0.4)]
    probability = weight[1] / sum(weight) * weight[0] / (weight[0] + weight[2])
    found = losses.plackett_luce(scores, ranks, is_real)
    assert float(found) == pytest.approx(-math.log(probability))


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.0, 1.0, True), (1.5, 1.0, False), (1.5, -1.0, True), (0.5, 1.0, True), (0.5, -1.0, False)],
)
def test_policy_gradient_ends_only_where_the_ratio_went_too_far_the_good_way(
    ratio: float, advantage: float, moves: bool
) -> None:
    ratios = torch.tensor([ratio], requires_grad=True)
    loss = losses.clipped_policy(ratios, torch.tensor([advantage]), clip=0.2).sum()
    (gradient,) = torch.autograd.grad(loss, ratios)
    assert float(gradient) == pytest.approx(-advantage if moves else 0.0)


def test_value_loss_inside_the_clip_is_half_the_squared_error() -> None:
    found = losses.clipped_value(one(0.1), one(0.0), one(1.0), clip=0.2)
    assert float(found) == pytest.approx(0.5 * 0.9**2)


def test_value_loss_takes_no_credit_for_a_move_beyond_the_clip() -> None:
    values = torch.tensor([0.9], requires_grad=True)
    loss = losses.clipped_value(values, torch.zeros(1), torch.ones(1), clip=0.2).sum()
    (gradient,) = torch.autograd.grad(loss, values)
    assert loss.item() == pytest.approx(0.5 * 0.8**2)
    assert not gradient.any()


def test_a_thumb_is_a_comparison_with_a_score_of_zero() -> None:
    scores, share = torch.tensor([-1.5, 0.0, 2.0]), torch.tensor([0.0, 0.3, 1.0])
    oracle = torch.nn.functional.binary_cross_entropy_with_logits(scores, share, reduction="none")
    assert torch.allclose(losses.thumbs(scores, share), oracle, atol=1e-6)

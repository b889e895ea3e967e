"""Advantage estimation and whitening, against closed forms and a plain double loop."""

import pytest
import torch
from torch import Tensor

from worker.rlhf.policy import advantages

TOLERANCE = 1e-12
LENGTHS = (7, 1, 4, 0)


@pytest.fixture
def rewards() -> Tensor:
    return torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def values() -> Tensor:
    return torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def is_response() -> Tensor:
    return torch.arange(7) < torch.tensor(LENGTHS)[:, None]


def test_advantage_with_lambda_zero_is_the_td_error(
    rewards: Tensor, values: Tensor, is_response: Tensor
) -> None:
    found, _ = advantages.estimate(rewards, values, is_response, gamma=0.9, lam=0.0)
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            following = float(values[row, t + 1]) if t + 1 < length else 0.0
            expected = float(rewards[row, t]) + 0.9 * following - float(values[row, t])
            assert float(found[row, t]) == pytest.approx(expected, abs=TOLERANCE)


def test_advantage_with_lambda_one_is_return_minus_value(
    rewards: Tensor, values: Tensor, is_response: Tensor
) -> None:
    found, returns = advantages.estimate(rewards, values, is_response, gamma=0.9, lam=1.0)
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            total = sum(0.9 ** (k - t) * float(rewards[row, k]) for k in range(t, length))
            assert float(returns[row, t]) == pytest.approx(total, abs=TOLERANCE)
            assert float(found[row, t]) == pytest.approx(total - float(values[row, t]))


def test_advantage_between_is_the_weighted_sum_of_td_errors(
    rewards: Tensor, values: Tensor, is_response: Tensor
) -> None:
    found, _ = advantages.estimate(rewards, values, is_response, gamma=0.9, lam=0.8)
    errors, _ = advantages.estimate(rewards, values, is_response, gamma=0.9, lam=0.0)
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            expected = sum(0.72 ** (k - t) * float(errors[row, k]) for k in range(t, length))
            assert float(found[row, t]) == pytest.approx(expected, abs=TOLERANCE)


def test_masked_positions_change_nothing_and_hold_zero(
    rewards: Tensor, values: Tensor, is_response: Tensor
) -> None:
    clean = advantages.estimate(rewards, values, is_response, gamma=0.9, lam=0.8)
    dirty = advantages.estimate(
        rewards.masked_fill(~is_response, 1e6),
        values.masked_fill(~is_response, float("nan")),
        is_response,
        gamma=0.9,
        lam=0.8,
    )
    for one, other in zip(clean, dirty, strict=True):
        assert torch.equal(one, other)
        assert not one[~is_response].any()


def test_padding_on_the_left_gives_the_same_advantages(
    rewards: Tensor, values: Tensor, is_response: Tensor
) -> None:
    right, _ = advantages.estimate(rewards, values, is_response, gamma=0.9, lam=0.8)
    shifts = [(7 - length) % 7 for length in LENGTHS]

    def to_the_left(tensor: Tensor) -> Tensor:
        return torch.stack([row.roll(by) for row, by in zip(tensor, shifts, strict=True)])

    left, _ = advantages.estimate(
        to_the_left(rewards), to_the_left(values), to_the_left(is_response), gamma=0.9, lam=0.8
    )
    assert torch.allclose(left, to_the_left(right), atol=TOLERANCE)


def test_whitened_values_have_mean_zero_and_variance_one_over_real_tokens(
    values: Tensor, is_response: Tensor
) -> None:
    white = advantages.whiten(5.0 * values + 3.0, is_response)
    real = white[is_response]
    assert float(real.mean()) == pytest.approx(0.0, abs=1e-9)
    assert float(real.square().mean()) == pytest.approx(1.0, abs=1e-6)
    assert not white[~is_response].any()


def test_whitening_equal_values_gives_zero_and_no_noise() -> None:
    same = torch.full((2, 3), 0.7)
    assert advantages.whiten(same, torch.ones(2, 3, dtype=torch.bool)).abs().max() < 1e-3


def test_explained_variance_is_one_for_the_returns_and_zero_for_a_constant(
    values: Tensor, is_response: Tensor
) -> None:
    perfect = advantages.explained_variance(values, values, is_response)
    constant = advantages.explained_variance(torch.full_like(values, 4.0), values, is_response)
    assert float(perfect) == pytest.approx(1.0)
    assert float(constant) == pytest.approx(0.0, abs=1e-9)

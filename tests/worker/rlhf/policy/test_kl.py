"""KL estimators against the exact divergence, and the controllers' closed forms."""

import pytest
import torch

from worker.rlhf.policy import kl

TOLERANCE = 1e-12


def test_estimators_average_to_the_divergence_over_every_token() -> None:
    generator = torch.Generator().manual_seed(3)
    policy, reference = torch.randn(2, 50, dtype=torch.float64, generator=generator).log_softmax(-1)
    exact = float(torch.nn.functional.kl_div(reference, policy, log_target=True, reduction="sum"))
    for estimator in (kl.k1, kl.k3):
        mean = float((policy.exp() * estimator(policy, reference)).sum())
        assert mean == pytest.approx(exact, abs=TOLERANCE)


def test_k3_is_never_negative_where_k1_may_be() -> None:
    policy, reference = torch.randn(2, 100, generator=torch.Generator().manual_seed(4))
    assert float(kl.k3(policy, reference).min()) >= 0.0
    assert float(kl.k1(policy, reference).min()) < 0.0


def test_equal_distributions_are_at_distance_zero() -> None:
    logprobs = torch.tensor([-3.0, -0.1])
    assert not kl.k1(logprobs, logprobs).any()
    assert not kl.k3(logprobs, logprobs).any()


def test_a_fixed_coefficient_stays() -> None:
    assert kl.Fixed(0.1).after(100.0, 64).coefficient == 0.1


def test_adaptive_coefficient_is_unchanged_at_the_target() -> None:
    assert kl.Adaptive(0.3, target_nats=6.0).after(6.0, 64).coefficient == 0.3


def test_adaptive_coefficient_at_twice_the_target_grows_by_the_clipped_error() -> None:
    after = kl.Adaptive(0.3, target_nats=6.0, horizon=10_000.0).after(12.0, 64)
    assert after.coefficient == pytest.approx(0.3 * (1 + 0.2 * 64 / 10_000), abs=TOLERANCE)


def test_adaptive_coefficient_below_the_target_shrinks() -> None:
    after = kl.Adaptive(0.3, target_nats=6.0, horizon=100.0).after(5.4, 10)
    assert after.coefficient == pytest.approx(0.3 * (1 - 0.1 * 10 / 100), abs=TOLERANCE)


def test_a_controller_takes_its_coefficient_back_and_keeps_its_target() -> None:
    restored = kl.Adaptive(0.3, target_nats=2.0).with_coefficient(0.7)
    assert (restored.coefficient, restored.target_nats) == (0.7, 2.0)

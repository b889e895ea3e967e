"""Normalized scores are mean 0 and std 1 on the sample they were fitted to, bounds included."""

import json

import pytest
import torch

from worker.rlhf.reward.normalizer import Normalizer, Scale

TOLERANCE = 1e-5
RAW = torch.randn(3, 200, generator=torch.Generator().manual_seed(0)) * torch.tensor(
    [[1.0], [5.0], [0.2]]
) + torch.tensor([[4.0], [-2.0], [0.0]])


def test_a_fitted_scale_gives_mean_zero_and_std_one() -> None:
    values = Scale.fit(RAW[1])(RAW[1])
    assert float(values.mean()) == pytest.approx(0.0, abs=TOLERANCE)
    assert float(values.std(correction=0)) == pytest.approx(1.0, abs=TOLERANCE)


def test_equal_values_are_shifted_and_not_blown_up() -> None:
    assert Scale.fit(torch.full((5,), 3.0)) == Scale(3.0, 1.0)


def test_a_scale_without_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0, got 0"):
        Scale(0.0, 0.0)


def test_the_ensembles_lower_bound_is_mean_zero_and_std_one() -> None:
    bound, _ = Normalizer.fit(RAW, penalty=1.0).lower_bound(RAW)
    assert float(bound.mean()) == pytest.approx(0.0, abs=TOLERANCE)
    assert float(bound.std(correction=0)) == pytest.approx(1.0, abs=TOLERANCE)


def test_disagreement_lowers_the_bound_and_agreement_does_not() -> None:
    normalizer = Normalizer((Scale(), Scale()), penalty=0.5)
    raw = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
    bound, spread = normalizer.lower_bound(raw)
    assert spread.tolist() == [0.0, 1.0]
    assert bound.tolist() == [1.0, 0.5]


def test_each_model_counts_on_its_own_scale() -> None:
    normalizer = Normalizer((Scale(0.0, 1.0), Scale(0.0, 100.0)), penalty=1.0)
    bound, spread = normalizer.lower_bound(torch.tensor([[1.0], [100.0]]))
    assert float(bound) == 1.0
    assert float(spread) == 0.0


def test_a_manifest_gives_the_normalizer_back() -> None:
    normalizer = Normalizer.fit(RAW, penalty=1.0)
    assert Normalizer.from_json(json.loads(json.dumps(normalizer.to_json()))) == normalizer


def test_a_manifest_that_names_no_penalty_has_none() -> None:
    old = {"members": [[1.0, 2.0], [0.0, 1.0]], "combined": [[0.5, 2.0]]}
    assert Normalizer.from_json(old) == Normalizer(
        (Scale(1.0, 2.0), Scale(0.0, 1.0)), Scale(0.5, 2.0), 0.0, None
    )


@pytest.mark.parametrize(("fitted", "wanted"), [(0.0, 1.0), (2.0, 0.5), (1.0, 0.0)])
def test_another_penalty_gives_the_scale_that_was_fitted_at_it(
    fitted: float, wanted: float
) -> None:
    moved = Normalizer.fit(RAW, penalty=fitted).at(wanted)
    direct = Normalizer.fit(RAW, penalty=wanted)
    assert moved == direct
    bound, _ = moved.lower_bound(RAW)
    assert float(bound.mean()) == pytest.approx(0.0, abs=TOLERANCE)
    assert float(bound.std(correction=0)) == pytest.approx(1.0, abs=TOLERANCE)


def test_an_old_scale_of_an_ensemble_refuses_another_penalty_by_both_numbers() -> None:
    old = Normalizer((Scale(), Scale()), penalty=0.5)
    assert old.at(0.5) is old
    with pytest.raises(ValueError, match=r"penalty of 0\.5, without .* one of 2;"):
        old.at(2.0)


def test_one_model_has_the_same_scale_at_every_penalty() -> None:
    alone = Normalizer((Scale(1.0, 3.0),), Scale(0.5, 2.0))
    bound, _ = alone.at(3.0).lower_bound(RAW[:1])
    assert torch.equal(bound, alone.lower_bound(RAW[:1])[0])

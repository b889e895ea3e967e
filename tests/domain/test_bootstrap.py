import numpy as np
import pytest

from app.domain import bootstrap
from app.domain.measures import Interval, Undefined, wilson


def interval(found: Interval | Undefined) -> Interval:
    assert isinstance(found, Interval)
    return found


def test_interval_of_a_mean_is_the_normal_one_in_large_samples() -> None:
    values = np.random.default_rng(0).normal(2, 3, size=4000)
    found = interval(bootstrap.mean(values, seed=1, resamples=4000).interval)
    half = 1.96 * values.std() / len(values) ** 0.5
    assert found.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert found.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_grouping_equal_rows_keeps_the_law() -> None:
    # Ten thousand rows of two kinds: the same interval as the binomial one.
    values = np.repeat([0.0, 1.0], [4000, 6000])
    found = interval(bootstrap.mean(values, seed=0, resamples=4000).interval)
    expected = interval(wilson(6000, 10_000))
    assert found.low == pytest.approx(expected.low, abs=1e-3)
    assert found.high == pytest.approx(expected.high, abs=1e-3)


def test_same_seed_same_interval() -> None:
    values = [0.0, 0.25, 1.0, 0.5]
    one, other = (bootstrap.mean(values, seed=7) for _ in range(2))
    assert one == other
    assert one.interval != bootstrap.mean(values, seed=8).interval


def test_unanimous_share_has_a_wilson_interval_and_no_false_certainty() -> None:
    found = bootstrap.share([1.0] * 5, seed=0)
    assert found.value == 1.0
    assert found.interval == wilson(5, 5)
    assert interval(found.interval).low < 0.6


def test_undefined_says_why() -> None:
    assert bootstrap.mean([], seed=0).value == Undefined("no comparison has two judgments")
    one = bootstrap.mean([0.3], seed=0)
    assert one.interval == Undefined("an interval needs at least two comparisons")
    same = bootstrap.mean([0.3, 0.3], seed=0)
    assert isinstance(same.interval, Undefined)
    assert same.value == pytest.approx(0.3)


def test_statistic_without_a_value_is_undefined_and_never_nan() -> None:
    found = bootstrap.measure(
        np.array([[1.0], [2.0]]), lambda sums: sums[:, 0] * np.nan, undefined="no value", seed=0
    )
    assert found.value == found.interval == Undefined("no value")


def test_interval_is_undefined_where_many_resamples_have_no_value() -> None:
    def one_when_any(sums: bootstrap.Array) -> bootstrap.Array:
        return np.where(sums[:, 0] > 0, sums[:, 0], np.nan)

    found = bootstrap.measure(
        np.array([[1.0], [0.0], [0.0]]), one_when_any, undefined="never", seed=0
    )
    assert found.value == 1.0
    assert isinstance(found.interval, Undefined)

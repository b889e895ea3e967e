import numpy as np
import pytest

from app.domain import jackknife
from app.domain.krippendorff import Array
from app.domain.measures import Interval, Undefined, wilson


def interval(found: Interval | Undefined) -> Interval:
    assert isinstance(found, Interval)
    return found


def test_interval_of_a_mean_is_students() -> None:
    # Of a plain mean, the jackknife's standard error is exactly s / sqrt(n); t(3, 97.5 %) = 3.1824.
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found = interval(jackknife.mean(values).interval)
    half = 3.1824 * values.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half), rel=1e-4)


def test_interval_of_independent_trials_is_almost_wilsons() -> None:
    found = interval(jackknife.share(np.repeat([0.0, 1.0], [4000, 6000])).interval)
    expected = interval(wilson(6000, 10_000))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_copies_within_a_cluster_add_nothing_to_what_is_known() -> None:
    values = np.array([0.0, 1.0, 1.0, 0.5, 1.0, 0.0])
    once = jackknife.share(values)
    tenfold = jackknife.share(np.repeat(values, 10), np.repeat(np.arange(6), 10))
    assert tenfold.value == once.value
    assert tenfold.n == 60
    a, b = interval(once.interval), interval(tenfold.interval)
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_a_cluster_that_holds_most_of_the_weight_leaves_few_degrees_of_freedom() -> None:
    cluster = np.repeat([0, 1, 2, 3], [30, 1, 1, 1])
    weight = np.bincount(cluster).astype(float)
    rows = np.stack([weight * [0.5, 1, 0, 1], weight], axis=1)
    (found,) = jackknife.estimates(rows, weight, jackknife.ratio, np.zeros(4, dtype=np.int64), 1)
    assert found.clusters == 4
    assert found.effective == pytest.approx(33**2 / 903)


def test_very_many_clusters_are_merged_evenly_and_the_interval_stays() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(60_000), 2)
    values = (rng.random(120_000) < 0.7).astype(float)
    group, groups = jackknife.merged(cluster)
    assert groups == jackknife.MOST_CLUSTERS == 1 + group.max()
    sizes = np.bincount(group)
    assert sizes.max() < 2 * sizes.mean()
    assert (group[::2] == group[1::2]).all()
    found = interval(jackknife.share(values, cluster).interval)
    expected = interval(wilson(values.sum(), len(values)))
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.05)


def test_unanimous_share_has_a_wilson_interval_of_prompts_and_no_false_certainty() -> None:
    found = jackknife.share([1.0] * 10, np.repeat(np.arange(5), 2))
    assert found.value == 1.0
    assert found.interval == wilson(5, 5)
    assert interval(found.interval).low < 0.6


def test_bounded_measures_stay_within_their_range() -> None:
    values = [1.0, 1.0, 1.0, 0.9]
    assert interval(jackknife.share(values).interval).high <= 1
    low = interval(jackknife.mean([-1, -1, -0.9], bounds=jackknife.within_one).interval)
    assert -1 <= low.low < -0.9 < low.high
    nearly = jackknife.mean([0.9, 1.0, 1.0], bounds=jackknife.below_one)
    assert interval(nearly.interval).high <= 1


def test_segments_are_measured_as_if_alone() -> None:
    rng = np.random.default_rng(1)
    weight = np.ones(30)
    rows = np.stack([rng.random(30), weight], axis=1)
    segment = np.arange(30) % 3
    together = jackknife.estimates(rows, weight, jackknife.ratio, segment, 3)
    for at in range(3):
        own = rows[segment == at]
        (alone,) = jackknife.estimates(
            own, own[:, 1], jackknife.ratio, np.zeros(10, dtype=np.int64), 1
        )
        assert together[at] == alone


def test_undefined_says_why() -> None:
    assert jackknife.mean([]).value == Undefined("no comparison has two judgments")
    one = jackknife.mean([0.3])
    assert one.interval == Undefined("an interval needs judgments on at least two prompts")
    same = jackknife.mean([0.3, 0.3])
    assert same.interval == Undefined(jackknife.NO_SPREAD)
    assert same.value == pytest.approx(0.3)


def test_statistic_that_rests_on_one_prompt_has_no_interval() -> None:
    def one_when_any(sums: Array) -> Array:
        return np.where(sums[:, 0] > 0, sums[:, 0], np.nan)

    rows = np.array([[1.0], [0.0], [0.0]])
    found = jackknife.estimates(rows, np.ones(3), one_when_any, np.zeros(3, dtype=np.int64), 1)
    (measure,) = jackknife.measures(found, [3], jackknife.symmetric)
    assert measure.value == 1.0
    assert measure.interval == Undefined(jackknife.ONE_DECIDES)

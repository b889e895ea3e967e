"""The curve of accuracy over comparisons: exact where the law holds, covering where it is noisy."""

import numpy as np
import pytest

from app.domain import label_value
from app.domain.krippendorff import Array
from app.errors import Invalid

COUNTS = (50, 100, 200, 400)
HELD_OUT = 200


def test_a_curve_that_follows_the_law_is_continued() -> None:
    law = [0.8 - 1.5 / np.sqrt(count) for count in COUNTS]
    hits = np.repeat(np.array(law)[:, None], 10, axis=1)
    found = label_value.fit(COUNTS, hits, np.arange(10))
    assert found.doubled.comparisons == 800
    assert found.doubled.accuracy == pytest.approx(0.8 - 1.5 / np.sqrt(800))
    assert found.more.accuracy == pytest.approx(0.8 - 1.5 / np.sqrt(900))
    assert found.gain == pytest.approx(1.5 / np.sqrt(400) - 1.5 / np.sqrt(900))
    assert [point.accuracy for point in found.measured] == pytest.approx(law)


def test_scatter_around_the_curve_and_few_prompts_widen_the_forecast() -> None:
    rng = np.random.default_rng(1)
    by_prompt = (rng.random(HELD_OUT // 10) < 0.7).astype(float)
    hits = np.tile(np.repeat(by_prompt, 10), (4, 1))  # each fit predicts the same votes
    few_prompts = label_value.fit(COUNTS, hits, np.arange(HELD_OUT) // 10)
    many = label_value.fit(COUNTS, hits, np.arange(HELD_OUT))
    assert width(few_prompts) > 2 * width(many)
    scattered = hits.copy()
    scattered[1, :40] = 1.0 - hits[1, :40]
    scattered[2, 40:60] = 0.0
    assert width(label_value.fit(COUNTS, scattered, np.arange(HELD_OUT))) > 1.2 * width(many)


def width(found: label_value.LabelValue) -> float:
    assert found.doubled.low is not None
    assert found.doubled.high is not None
    return found.doubled.high - found.doubled.low


def test_too_little_has_no_curve() -> None:
    assert label_value.sizes(63) == ()
    assert label_value.sizes(400) == COUNTS
    with pytest.raises(Invalid, match="not 2 and 5"):
        label_value.fit((1, 2), np.ones((2, 5)), np.arange(5))
    with pytest.raises(Invalid, match="not 4 and 0"):
        label_value.fit(COUNTS, np.ones((4, 0)), np.arange(0))


def fitted(x: Array, votes: Array) -> Array:
    """Fit a Bradley-Terry model of score differences by Newton's method, with a ridge of 1."""
    weights = np.zeros(x.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x.T * (p * (1 - p))) @ x + np.eye(x.shape[1])
        weights -= np.linalg.solve(hessian, x.T @ (p - votes) + weights)
    return weights


def simulated(seed: int, comparisons: int, features: int) -> tuple[label_value.LabelValue, float]:
    """Return the curve of a simulated project, and the accuracy that twice the data really has."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=features)
    taste *= 4 / np.linalg.norm(taste)

    def draw(count: int) -> tuple[Array, Array]:
        x = rng.normal(size=(count, features))
        says_first = rng.random(count) < 1 / (1 + np.exp(-x @ taste))
        return x, (says_first ^ (rng.random(count) < 0.15)).astype(float)

    x, votes = draw(2 * comparisons)
    held_x, held_votes = draw(HELD_OUT)
    many_x, many_votes = draw(20_000)
    counts = label_value.sizes(comparisons)
    rows = [((held_x @ fitted(x[:n], votes[:n]) > 0) == held_votes) for n in counts]
    found = label_value.fit(counts, np.array(rows, dtype=float), np.arange(HELD_OUT))
    actual = ((many_x @ fitted(x, votes) > 0) == many_votes).mean()
    return found, float(actual)


@pytest.mark.parametrize(("comparisons", "features"), [(400, 24), (160, 8), (800, 96)])
def test_twice_the_data_is_within_the_forecast_in_eight_of_ten_simulations(
    comparisons: int, features: int
) -> None:
    covered, widths = 0, []
    for seed in range(10):
        found, actual = simulated(seed, comparisons, features)
        assert found.doubled.low is not None
        assert found.doubled.high is not None
        covered += found.doubled.low <= actual <= found.doubled.high
        widths.append(width(found))
    assert covered >= 8
    assert np.mean(widths) < 0.25, "an interval that says something"

"""Advice on overlap, held against simulated labelers and closed forms."""

import numpy as np
import pytest

from app.domain import overlap_advice
from app.domain.measures import Interval, Measure, Undefined
from app.domain.overlap_advice import OVERLAPS, OverlapVerdict, advise
from app.errors import Invalid

COMPARISONS = 200_000
TOLERANCE = 0.005  # over four standard errors of a share of so many


@pytest.mark.parametrize("accuracy", [0.6, 0.75, 0.9])
def test_figures_are_those_of_simulated_labelers(accuracy: float) -> None:
    random = np.random.default_rng(7)
    truth = random.random(COMPARISONS) < 0.5
    votes = (random.random((COMPARISONS, max(OVERLAPS))) < accuracy) == truth[:, None]
    agreement = float((votes[:, 0] == votes[:, 1]).mean())
    assert overlap_advice.labeler_accuracy(agreement) == pytest.approx(accuracy, abs=0.01)
    for overlap in OVERLAPS:
        counts = votes[:, :overlap].sum(axis=1)
        right = float(((counts > overlap / 2) == truth).mean())
        expected = overlap_advice.majority_accuracy(accuracy, overlap)
        assert right == pytest.approx(expected, abs=TOLERANCE)
        assert overlap_advice.information(accuracy, overlap) == pytest.approx(
            _plug_in_information(counts, truth), abs=TOLERANCE
        )


def _plug_in_information(counts: np.ndarray, truth: np.ndarray) -> float:
    joint = np.stack([np.bincount(counts[truth == side], minlength=6) for side in (False, True)])
    shares = joint / joint.sum()
    independent = shares.sum(axis=0) * shares.sum(axis=1)[:, None]
    seen = shares > 0
    return float((shares[seen] * np.log2(shares[seen] / independent[seen])).sum())


def test_labelers_who_always_agree_tell_nothing_new_and_coins_tell_nothing() -> None:
    assert overlap_advice.information(1.0, 1) == 1
    assert overlap_advice.information(0.5, 5) == pytest.approx(0)
    assert overlap_advice.kept(1.0, 3) == pytest.approx(1 / 3)
    assert overlap_advice.kept(0.5, 3) == 1
    assert overlap_advice.kept(0.5001, 3) == pytest.approx(1, abs=0.001)
    assert overlap_advice.majority_accuracy(0.8, 2) == pytest.approx(0.8)  # ties by a coin
    with pytest.raises(Invalid, match=r"0\.5 to 1 .* not 0\.4"):
        overlap_advice.labeler_accuracy(0.4)


@pytest.mark.parametrize(
    ("value", "low", "high", "most", "verdict"),
    [
        (0.75, 0.70, 0.80, 9_000, OverlapVerdict.MORE_COMPARISONS),
        (0.55, 0.52, 0.58, 9_000, OverlapVerdict.MORE_LABELERS),
        (0.62, 0.55, 0.69, 9_000, OverlapVerdict.NOT_ENOUGH),
        (0.60, 0.45, 0.75, 9_000, OverlapVerdict.NOT_ENOUGH),
        (0.75, 0.70, 0.80, 500, OverlapVerdict.NO_MORE_COMPARISONS),
    ],
)
def test_the_verdict_follows_the_whole_interval(
    value: float, low: float, high: float, most: int, verdict: OverlapVerdict
) -> None:
    advice = advise(Measure(value, Interval(low, high), 300), 1_200, most)
    assert advice.verdict == verdict
    assert bool(advice.reason) == (verdict is OverlapVerdict.NOT_ENOUGH)
    assert [spending.comparisons for spending in advice.spendings] in ([1_200, 400, 240], [])
    assert advice.overlap_least == (3 if most == 500 else 1)


def test_a_figure_without_a_value_or_an_interval_is_not_enough_for_its_reason() -> None:
    no_value = advise(Measure.missing("nobody judged twice"), 100, 100)
    no_interval = advise(Measure(0.7, Undefined("one prompt"), 3), 100, 100)
    assert (no_value.verdict, no_value.reason) == (OverlapVerdict.NOT_ENOUGH, "nobody judged twice")
    assert (no_interval.verdict, no_interval.reason) == (OverlapVerdict.NOT_ENOUGH, "one prompt")

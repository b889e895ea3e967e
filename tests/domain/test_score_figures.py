"""Figures of scored responses: closed forms, and what is said where there is no number."""

from math import nan, sqrt

import pytest

from app.domain import score_figures
from app.domain.measures import Interval, Undefined
from app.errors import Invalid


def test_spread_has_the_sample_standard_deviation_and_the_share_above_the_threshold() -> None:
    figures = score_figures.spread([1.0, None, 2.0, 3.0], 2.0)
    assert (figures.n, figures.mean, figures.std) == (3, 2.0, 1.0)
    assert figures.over.value == pytest.approx(1 / 3), "a score at the threshold is not above it"
    assert isinstance(figures.over.interval, Interval)


def test_a_side_without_scores_has_reasons_instead_of_numbers() -> None:
    figures = score_figures.spread([None, None], 0.5)
    assert isinstance(figures.mean, Undefined)
    assert isinstance(figures.over.value, Undefined)
    assert isinstance(score_figures.difference([1.0, None], [None, 2.0]).value, Undefined)
    assert isinstance(score_figures.difference([1.0], [2.0]).interval, Undefined)


def test_difference_pairs_prompts_and_takes_the_interval_of_student() -> None:
    measure = score_figures.difference([0.0, 5.0, 1.0, None], [1.0, None, 4.0, 9.0])
    assert measure.n == 2
    assert measure.value == 2.0
    assert isinstance(measure.interval, Interval)
    # With one degree of freedom the quantile is tan(0.475 π); the changes 1 and 3 have std √2.
    half = 12.7062 * sqrt(2) / sqrt(2)
    assert measure.interval.low == pytest.approx(2 - half, rel=1e-4)
    assert measure.interval.high == pytest.approx(2 + half, rel=1e-4)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(Invalid, match="finite number, not nan"):
        score_figures.spread([nan])


def test_histogram_counts_every_score_once_on_shared_edges() -> None:
    figures = score_figures.histogram([[0.0, 0.5, 1.0], [1.0, None]], bins=4)
    assert figures.counts == ((1, 0, 1, 1), (0, 0, 0, 1))
    assert figures.edges == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert score_figures.histogram([[2.0, 2.0]], bins=2).counts == ((2, 0),)
    assert score_figures.histogram([[None]]).most == 0


def test_accuracy_counts_ties_as_half_overall_and_by_subset() -> None:
    rows = score_figures.accuracies([2.0, 1.0, 0.0], [1.0, 1.0, 3.0], ["chat", "chat", ""])
    assert [(row.subset, row.accuracy.value, row.ties) for row in rows] == [
        ("", 0.5, 1),
        ("chat", 0.75, 1),
    ]
    assert all(isinstance(row.accuracy.interval, Interval) for row in rows)


@pytest.mark.parametrize(("is_high_bad", "order"), [(True, [3, 0, 1]), (False, [1, 0, 3])])
def test_worst_first_skips_what_was_not_scored(is_high_bad: bool, order: list[int]) -> None:
    assert score_figures.worst_first([0.5, 0.1, None, 0.9], is_high_bad=is_high_bad) == order


def test_a_summary_compares_each_side_with_the_first() -> None:
    summary = score_figures.summarize(["old", "new"], [[1.0, 2.0], [0.0, 1.0]], 0.5)
    assert summary.sides[0].change is None
    assert summary.sides[1].change is not None
    assert summary.sides[1].change.value == -1.0
    found = summary.to_json()
    assert found["sides"][1]["change"]["value"] == -1.0
    assert found["sides"][1]["share_over_threshold"]["value"] == 0.5

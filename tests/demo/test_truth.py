"""Measures against the known truth, in closed form."""

import pytest

from app.demo import truth
from app.demo.truth import PolicyCompletions, ScoredComparison


def _by_length(_prompt: str, text: str) -> float:
    return float(len(text))


ROWS = [
    ScoredComparison("p", ("a", "bb", "ccc"), (1.0, 2.0, 3.0)),
    ScoredComparison("q", ("aa", "b"), (2.0, 1.0)),
]


def test_scores_in_the_order_of_the_truth_are_always_right() -> None:
    found = truth.reward(ROWS, _by_length, longer_wins=False)
    assert truth.value(found.accuracy) == 1.0
    assert truth.value(found.length_only) == 0.0
    assert truth.value(found.minus_length_only) == 1.0
    assert (found.comparisons, found.pairs) == (2, 4)


def test_comparisons_weigh_equally_whatever_their_size() -> None:
    rows = [
        ScoredComparison("p", ("a", "bb", "ccc"), (3.0, 2.0, 1.0)),
        ScoredComparison("q", ("aa", "b"), (2.0, 1.0)),
    ]
    assert truth.value(truth.reward(rows, _by_length, longer_wins=True).accuracy) == 0.5


def test_pairs_that_the_truth_cannot_tell_apart_are_left_out() -> None:
    rows = [
        ScoredComparison("p", ("aa", "bb"), (1.0, 2.0)),
        ScoredComparison("q", ("a", "bb"), (1.0, 2.0)),
    ]
    found = truth.reward(rows, _by_length, longer_wins=True)
    assert (found.comparisons, found.pairs) == (1, 1)


def test_equal_answers_are_half_a_win() -> None:
    rows = [
        PolicyCompletions("p", "a", "bb"),
        PolicyCompletions("q", "aa", "bb"),
        PolicyCompletions("r", "aaa", "b"),
    ]
    found = truth.policy(rows, _by_length)
    assert truth.value(found.win_rate) == pytest.approx(0.5)
    assert truth.value(found.change) == pytest.approx((1 + 0 - 2) / 3)


def test_an_interval_holds_its_value() -> None:
    rows = [PolicyCompletions("p", "a" * (n % 3), "b" * (n % 4)) for n in range(60)]
    found = truth.policy(rows, _by_length)
    low, high = truth.bounds(found.win_rate) or [0, 0]
    assert low < (truth.value(found.win_rate) or 0) < high

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.assignment import (
    AHEAD,
    AHEAD_MOST,
    QueueState,
    Rates,
    ahead,
    lease_length,
    mix,
    repeated_order,
    shown_order,
    why_empty,
)
from app.errors import Invalid

SECRET = b"s" * 32
NOTHING_LEFT = QueueState(
    open=0,
    is_open_exact=True,
    held=0,
    judged=0,
    skipped=0,
    total=400,
    with_others=0,
    next_free_s=None,
)


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(1, 9))
def test_the_order_shown_is_a_permutation_and_stays_the_same(
    labeler: int, comparison: int, k: int
) -> None:
    order = shown_order(SECRET, labeler, comparison, k)
    assert sorted(order) == list(range(k))
    assert order == shown_order(SECRET, labeler, comparison, k)


def test_every_order_is_shown_about_equally_often() -> None:
    seen = Counter(shown_order(SECRET, labeler, 7, 3) for labeler in range(6000))
    assert len(seen) == 6
    assert all(850 < count < 1150 for count in seen.values())  # 1000 ± 5 standard deviations


def test_the_order_shown_depends_on_secret_labeler_and_comparison() -> None:
    base = [shown_order(SECRET, 1, c, 5) for c in range(40)]
    assert base != [shown_order(b"t" * 32, 1, c, 5) for c in range(40)]
    assert base != [shown_order(SECRET, 2, c, 5) for c in range(40)]
    assert len(set(base)) > 20


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_repeat_swaps_the_two(labeler: int, origin: int) -> None:
    assert repeated_order(SECRET, labeler, origin, 2) != shown_order(SECRET, labeler, origin, 2)


@given(st.integers(0, 10**9))
def test_a_lease_is_ten_to_sixty_minutes(median_ms: int) -> None:
    assert timedelta(minutes=10) <= lease_length(median_ms) <= timedelta(minutes=60)


def test_a_lease_is_three_medians() -> None:
    assert lease_length(10 * 60_000) == timedelta(minutes=30)
    assert timedelta(minutes=10) <= lease_length(None) <= timedelta(minutes=60)


@given(st.floats(0, 0.999), st.floats(0, 0.999))
def test_without_rates_only_ordinary_work_comes(draw: float, second: float) -> None:
    plan = mix(Rates(evaluation=0), draw, second)
    assert plan.instead is None
    assert plan.ordinary == ("train", "fresh", "evaluation")


def test_what_is_mixed_in_keeps_its_rates() -> None:
    rates = Rates(gold=0.1, repeat=0.05, evaluation=0.3)
    grid = [(i + 0.5) / 200 for i in range(200)]
    plans = [mix(rates, a, b) for a in grid for b in grid]
    shares = Counter(plan.instead for plan in plans)
    assert shares["gold"] / len(plans) == pytest.approx(0.1)
    assert shares["repeat"] / len(plans) == pytest.approx(0.05)
    first = sum(plan.ordinary == ("fresh", "evaluation", "train") for plan in plans)
    assert first / len(plans) == pytest.approx(0.3)


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(Invalid, match="gold rate"):
        Rates(gold=1.2)
    with pytest.raises(Invalid, match="add up"):
        Rates(gold=0.6, repeat=0.6)


def test_an_empty_queue_says_who_has_the_rest_and_until_when() -> None:
    state = replace(NOTHING_LEFT, judged=300, with_others=12, next_free_s=350)
    assert why_empty(state)[:2] == (
        "12 comparisons are with other labelers; the next frees in about 6 minutes.",
        "You have judged 300 of 400 comparisons.",
    )
    one = replace(state, with_others=1, next_free_s=20)
    assert why_empty(one)[0] == ("1 comparison is with other labelers; it frees in about 1 minute.")


def test_an_empty_queue_says_that_all_is_judged() -> None:
    assert why_empty(replace(NOTHING_LEFT, judged=400)) == ("You have judged all 400.",)


@given(
    st.integers(0, 200),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_there_is_always_a_reason_and_never_one_while_there_is_work(
    judged: int, skipped: int, others: int
) -> None:
    state = replace(NOTHING_LEFT, judged=judged, skipped=skipped, with_others=others)
    assert why_empty(state)
    assert not why_empty(replace(state, open=1))
    assert not why_empty(replace(state, held=1))
    assert why_empty(replace(state, open=5, project_is_paused=True)) == ("This project is paused.",)


@given(st.integers(1, 10**8), st.integers(0, 10**6))
def test_what_is_held_ahead_can_be_judged_in_time_and_leaves_the_queue_to_others(
    median_ms: int, open_: int
) -> None:
    many = ahead(median_ms, open_)
    assert AHEAD <= many <= AHEAD_MOST
    if many > AHEAD:
        assert (many + 1) * timedelta(milliseconds=median_ms) <= lease_length(median_ms)
        assert many <= open_ / 10


def test_twenty_are_held_where_the_queue_is_deep_and_judgments_are_quick() -> None:
    assert ahead(20_000, 200) == AHEAD_MOST
    assert ahead(20_000, 60) == 6
    assert ahead(20_000, 5) == AHEAD
    assert ahead(60_000, 200) == 9  # ten minutes' lease
    assert ahead(None, 200) == AHEAD  # nobody knows yet how long a judgment takes

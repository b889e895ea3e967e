"""A judge's agreement with people, held against people's own, clustered by prompt."""

from typing import Any

import pytest

from app.domain.judges import measures
from app.domain.judges.measures import JudgedItem
from app.domain.measures import Interval, Undefined
from app.domain.ranking import Ranking

A, B, TIE = Ranking((1, 2)), Ranking((2, 1)), Ranking((1, 1))


def item(prompt: int, own: Ranking, *people: Ranking, **other: Any) -> JudgedItem:
    known: dict[str, Any] = {"is_consistent": True, "people": people, "lengths": (1, 1)}
    return JudgedItem(prompt, own, **(known | other))


def test_each_comparison_counts_the_same_however_many_judged_it() -> None:
    found = measures.measure([item(1, A, A, A, A, A), item(2, A, B), item(3, TIE, B), item(4, A)])
    assert (found.judged, found.compared) == (4, 3)
    assert found.agreement.value == pytest.approx(1 / 2)
    assert found.with_ties.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert found.people.value == pytest.approx(1.0)
    assert found.ties == 1


def test_the_interval_is_clustered_by_prompt() -> None:
    apart = [item(n, A, A if n % 4 else B) for n in range(40)]
    together = [item(n // 10, A, A if n % 4 else B) for n in range(40)]
    one, other = (measures.measure(items).agreement for items in (apart, together))
    assert one.value == other.value == pytest.approx(0.75)
    assert isinstance(one.interval, Interval)
    assert one.interval.low < 0.75 < one.interval.high
    copies = [item(n % 10, A, A if n % 10 < 7 else B) for n in range(100)]
    clustered = measures.measure(copies).agreement
    singles = measures.measure([item(n, A, A if n % 10 < 7 else B) for n in range(100)]).agreement
    assert isinstance(clustered.interval, Interval)
    assert isinstance(singles.interval, Interval)
    width, narrow = (i.high - i.low for i in (clustered.interval, singles.interval))
    assert width > 2 * narrow


def test_undefined_figures_say_why() -> None:
    found = measures.measure([item(1, A)])
    assert found.agreement.value == Undefined(measures.NOBODY)
    assert found.people.value == Undefined(measures.NOT_TWO)
    assert measures.measure([]).consistency.value == Undefined(measures.NOTHING)


def test_habits_are_measured_by_place_and_length() -> None:
    items = [
        item(1, A, B, first_shown=(True, False), lengths=(9, 5)),
        item(2, TIE, A, first_shown=(True, True), lengths=(5, 9), is_consistent=False),
        item(3, A, lengths=(5, 5)),
    ]
    found = measures.measure(items)
    assert found.first_place.value == pytest.approx(0.75)
    assert found.consistency.value == pytest.approx(2 / 3)
    assert found.longer.value == pytest.approx(1.0)
    assert found.people_longer.value == pytest.approx(0.0)
    assert found.inconsistent == 1

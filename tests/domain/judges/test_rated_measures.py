"""A judge's agreement on ratings and thumbs: people's measures, and each side apart."""

from collections.abc import Sequence

import pytest

from app.domain import agreement
from app.domain.agreement import Rating
from app.domain.judges import rated_measures
from app.domain.judges.rated_measures import RatedItem
from app.domain.krippendorff import DistanceMetric
from app.domain.measures import Interval, Measure, Undefined


def item(at: int, own: Sequence[float], *people: Sequence[float]) -> RatedItem:
    named = [(f"L{n}", values) for n, values in enumerate(people)]
    return RatedItem(at, at, own, own, own, named)


def number(measure: Measure) -> float:
    assert isinstance(measure.value, float)
    return measure.value


def test_with_one_person_alpha_is_that_of_two_labelers() -> None:
    pairs = [(1, 2), (4, 4), (5, 3), (2, 2), (3, 5), (1, 1)]
    found = rated_measures.measure([item(n, [a], [b]) for n, (a, b) in enumerate(pairs)])
    labelers = agreement.rating_report(
        Rating(n, 0, name, value, n)
        for n, both in enumerate(pairs)
        for name, value in zip("xy", both, strict=True)
    )
    assert found.with_people.alpha == labelers.alpha
    assert found.with_people.identical == labelers.raw
    assert found.with_people.within_one == labelers.within_one
    assert found.with_people.kappa == labelers.pairs[0].kappa
    assert isinstance(found.with_people.alpha.interval, Interval)
    assert found.people.alpha.value == Undefined(rated_measures.NOT_TWO)


def test_people_who_agree_with_each_other_do_not_raise_the_judges_agreement() -> None:
    items = [item(n, [1 + n % 5], *[[5 - n % 5]] * 3) for n in range(20)]
    found = rated_measures.measure(items)
    assert number(found.people.alpha) == pytest.approx(1.0)
    assert number(found.people.kappa) == pytest.approx(1.0)
    assert number(found.with_people.alpha) < 0
    assert found.with_people.responses == found.people.responses == 20


def test_each_comparison_counts_the_same_however_many_people_judged_it() -> None:
    found = rated_measures.measure([item(1, [1], *[[1]] * 9), item(2, [5], [1])])
    assert number(found.with_people.identical) == pytest.approx(0.5)


def test_a_thumb_that_was_not_given_counts_in_its_consistency_only() -> None:
    apart = RatedItem(9, 9, [], [1.0], [0.0], [("L0", [1.0])])
    given = [item(n, [float(n % 2)], [float(n % 2)], [float(n % 3 == 0)]) for n in range(6)]
    found = rated_measures.measure([apart, *given], metric=DistanceMetric.NOMINAL)
    assert (found.undecided, found.with_people.responses) == (1, 6)
    assert number(found.itself.identical) == pytest.approx(6 / 7)
    assert number(found.with_people.identical) == pytest.approx((1 + 0.5) / 2)


def test_without_people_the_reason_is_said() -> None:
    found = rated_measures.measure([item(1, [3])])
    assert found.with_people.alpha.value == Undefined(rated_measures.NOBODY)
    assert number(found.itself.identical) == 1.0


def test_people_are_held_against_the_verdict_and_not_against_a_reply() -> None:
    wavering = [RatedItem(n, n, [3], [2], [4], [("L0", [3])]) for n in range(3)]
    found = rated_measures.measure(wavering)
    assert number(found.with_people.identical) == 1.0
    assert number(found.itself.within_one) == 0.0

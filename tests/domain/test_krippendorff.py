from typing import Any

import krippendorff
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from evalica import alpha as evalica_alpha
from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.krippendorff import ALL_EQUAL, NO_PAIR, DistanceMetric, summed_coincidences
from app.domain.measures import Undefined
from tests.domain.alpha_of_units import alpha

# Krippendorff (2011), section C: four observers, twelve units, missing values as None.
OBSERVERS: list[list[int | None]] = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
PUBLISHED = {
    DistanceMetric.NOMINAL: 0.743,
    DistanceMetric.ORDINAL: 0.815,
    DistanceMetric.INTERVAL: 0.849,
}

Observers = list[list[int | None]]
observers = st.integers(2, 5).flatmap(
    lambda units: st.lists(
        st.lists(st.none() | st.integers(-3, 3), min_size=units, max_size=units),
        min_size=2,
        max_size=4,
    )
)


def units_of(data: Observers) -> list[list[int]]:
    return [[value for value in unit if value is not None] for unit in zip(*data, strict=True)]


def as_floats(data: Observers) -> Any:
    return np.array([[np.nan if v is None else v for v in row] for row in data], dtype=float)


@pytest.mark.parametrize("metric", DistanceMetric)
def test_published_example(metric: DistanceMetric) -> None:
    assert alpha(units_of(OBSERVERS), metric) == pytest.approx(PUBLISHED[metric], abs=5e-4)


@pytest.mark.parametrize("metric", DistanceMetric)
@given(data=observers)
def test_agrees_with_two_independent_libraries(metric: DistanceMetric, data: Observers) -> None:
    mine = alpha(units_of(data), metric)
    assume(not isinstance(mine, Undefined))
    floats = as_floats(data)
    theirs = krippendorff.alpha(reliability_data=floats, level_of_measurement=metric.value)
    assert mine == pytest.approx(theirs, abs=1e-9)
    other = evalica_alpha(pd.DataFrame(floats), distance=metric.value, solver="naive")
    assert mine == pytest.approx(other.alpha, abs=1e-9)


@given(observers, st.permutations(range(-3, 4)))
def test_nominal_alpha_ignores_the_names_of_values(data: Observers, names: list[int]) -> None:
    renamed = [[None if v is None else names[v + 3] for v in row] for row in data]
    before, after = alpha(units_of(data)), alpha(units_of(renamed))
    if isinstance(before, Undefined):
        assert after == before
    else:
        assert after == pytest.approx(before)


def test_perfect_agreement_is_one_and_systematic_disagreement_negative() -> None:
    assert alpha([[1, 1], [2, 2]]) == 1.0
    found = alpha([[1, 2], [1, 2]])
    assert isinstance(found, float)
    assert found < 0


def test_two_values_make_all_metrics_equal() -> None:
    units = [[0, 0, 1], [1, 1], [0, 1], [0, 0, 0]]
    assert len({alpha(units, metric) for metric in DistanceMetric}) == 1


def test_undefined_says_why() -> None:
    assert alpha([[1, 1], [1, 1]]) == Undefined(ALL_EQUAL)
    assert alpha([[1], [2], []]) == Undefined(NO_PAIR)
    assert alpha([]) == Undefined(NO_PAIR)


@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=6))
def test_coincidences_of_a_unit_sum_to_its_number_of_values(counts: list[list[int]]) -> None:
    table = np.array([row for row in counts if sum(row) >= 2], dtype=float).reshape(-1, 3)
    assume(len(table))
    each = np.arange(len(table))
    matrices = summed_coincidences(table, np.ones(len(table)), each, len(table))
    np.testing.assert_allclose(matrices.sum(axis=(1, 2)), table.sum(axis=1))

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.coincidences import Weighting, fleiss, of_units
from app.domain.kappa import of_matrices
from app.domain.krippendorff import ALL_EQUAL
from app.domain.measures import Measure, Undefined

# Fourteen raters, ten subjects, five categories: the table much reprinted after Fleiss (1971).
FOURTEEN_RATERS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def fleiss_of(counts: list[list[int]]) -> Measure:
    each = np.arange(len(counts))
    return fleiss(of_units(np.array(counts, dtype=float), each, each, Weighting.UNIT))


def test_fleiss_of_the_published_table() -> None:
    assert fleiss_of(FOURTEEN_RATERS).value == pytest.approx(0.210, abs=5e-4)


def test_fleiss_with_unequal_numbers_counts_each_unit_the_same() -> None:
    # Gwet (2014): mean agreement of units (1, 1/3, 0), mean frequencies (2/3, 1/3)...
    found = fleiss_of([[3, 0], [2, 1], [1, 1]])
    observed, first = (1 + 1 / 3 + 0) / 3, (1 + 2 / 3 + 1 / 2) / 3
    expected = first**2 + (1 - first) ** 2
    assert found.value == pytest.approx((observed - expected) / (1 - expected))


@pytest.mark.parametrize(
    ("table", "kappa"),
    [((20, 5, 10, 15), 0.4), ((45, 15, 25, 15), 0.1304), ((25, 35, 5, 35), 0.2593)],
)
def test_cohen_of_known_tables(table: tuple[int, int, int, int], kappa: float) -> None:
    matrix = np.array([table], dtype=float).reshape(1, 2, 2)
    assert of_matrices(matrix)[0] == pytest.approx(kappa, abs=5e-5)


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_kappa_is_one_exactly_when_the_diagonal_holds_everything(cells: list[int]) -> None:
    kappa = of_matrices(np.array([cells], dtype=float).reshape(1, 2, 2))[0]
    if not np.isnan(kappa):
        assert (kappa == 1) == (cells[1] == cells[2] == 0)
        assert kappa <= 1


def test_undefined_says_why() -> None:
    assert fleiss_of([[1, 0], [0, 1]]).value == Undefined("no comparison has two judgments")
    assert fleiss_of([[2, 0], [2, 0]]).value == Undefined(ALL_EQUAL)

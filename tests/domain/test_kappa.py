import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.kappa import cohen, fleiss
from app.domain.krippendorff import ALL_EQUAL, NO_PAIR
from app.domain.measures import Undefined

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
binary = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=12)


def spread(counts: list[list[int]]) -> list[list[int]]:
    return [[v for v, count in enumerate(row) for _ in range(count)] for row in counts]


def square(a: int, b: int, c: int, d: int) -> list[tuple[int, int]]:
    return [(1, 1)] * a + [(1, 0)] * b + [(0, 1)] * c + [(0, 0)] * d


def test_fleiss_of_the_published_table() -> None:
    assert fleiss(spread(FOURTEEN_RATERS)) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize(
    ("table", "kappa"),
    [((20, 5, 10, 15), 0.4), ((45, 15, 25, 15), 0.1304), ((25, 35, 5, 35), 0.2593)],
)
def test_cohen_of_known_tables(table: tuple[int, int, int, int], kappa: float) -> None:
    assert cohen(square(*table)) == pytest.approx(kappa, abs=5e-5)


@given(binary)
def test_both_are_one_exactly_when_raters_agree(pairs: list[tuple[bool, bool]]) -> None:
    for kappa in (cohen(pairs), fleiss(pairs)):
        if not isinstance(kappa, Undefined):
            assert (kappa == 1) == all(a == b for a, b in pairs)
            assert kappa <= 1


def test_fleiss_needs_equally_many_raters() -> None:
    assert fleiss([[1, 2], [1, 1, 2]]) == Undefined(
        "Fleiss' kappa needs the same number of judgments everywhere; it ranges from 2 to 3"
    )


def test_undefined_says_why() -> None:
    assert cohen([]) == fleiss([]) == fleiss([[1], [2]]) == Undefined(NO_PAIR)
    assert cohen([(1, 1), (1, 1)]) == fleiss([[1, 1], [1, 1]]) == Undefined(ALL_EQUAL)

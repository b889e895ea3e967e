"""Curves: what is drawn stays in the frame, and the table says the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.curves import HEIGHT, WIDTH, Chart, ChartLine, ChartMark

values = st.floats(-1e6, 1e6, allow_nan=False)


def numbers(path: str) -> list[tuple[float, float]]:
    pairs = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)
    return [(float(x), float(y)) for x, y in pairs]


@given(st.lists(values, min_size=1, max_size=60))
def test_every_point_lies_in_the_frame(ys: list[float]) -> None:
    curve = Chart("t", "n", (ChartLine("l", tuple(enumerate(map(float, ys)))),))
    (drawn,) = curve.drawn
    for x, y in numbers(drawn.path):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert all(0 <= y <= HEIGHT for y, _ in curve.ticks)


@given(st.lists(values, min_size=2, max_size=30, unique=True))
def test_larger_values_are_never_drawn_lower(ys: list[float]) -> None:
    curve = Chart("t", "n", (ChartLine("l", tuple(enumerate(map(float, ys)))),))
    heights = [y for _, y in numbers(curve.drawn[0].path)]
    by_value = sorted(zip(ys, heights, strict=True))
    assert [h for _, h in by_value] == sorted((h for _, h in by_value), reverse=True)


@pytest.mark.parametrize("count", [1, 12, 13, 5000])
def test_the_table_is_short_and_ends_with_the_newest_value(count: int) -> None:
    points = tuple((float(at), at / 7) for at in range(1, count + 1))
    curve = Chart("t", "n", (ChartLine("l", points),))
    assert len(curve.rows) <= 12
    assert curve.rows[-1] == (float(count), (count / 7,))
    assert curve.last == count / 7
    assert len(numbers(curve.drawn[0].path)) <= 300


def test_a_far_limit_does_not_flatten_the_line_and_a_near_one_is_drawn() -> None:
    line = ChartLine("l", ((0.0, 0.0), (1.0, 1.0)))
    assert not Chart("t", "n", (line,), marks=(ChartMark(100, "budget"),)).shown_marks
    assert Chart("t", "n", (line,), marks=(ChartMark(1.5, "budget"),)).shown_marks


def test_nothing_measured_is_empty_not_broken() -> None:
    curve = Chart("t", "n", (ChartLine("l", ()),))
    assert curve.is_empty
    assert curve.last is None
    assert not curve.drawn
    assert not curve.rows

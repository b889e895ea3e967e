"""The geometry of the climb's panels: gaps where nothing was measured, intervals inside."""

from dataclasses import replace

import pytest

from app.domain import climb
from app.domain.climb import ClimbRound
from app.domain.measures import Interval, Measure
from app.domain.states import RoundState
from app.web import climb_panels
from app.web.climb_panels import BOTTOM, LEFT, RIGHT, TOP, ClimbPanel, Series

NONE = Measure.missing("nobody was asked")
SURE = Measure(0.7, Interval(0.65, 0.75), 200)
THIN = Measure(0.5, Interval(0.1, 0.9), 4)


def rounds(*measures: Measure) -> tuple[ClimbRound, ...]:
    blank = ClimbRound(
        *(1, RoundState.PROMOTED, "Policy 1", "SFT 1", "SFT 1", "", "Reward 1"), *[NONE] * 13
    )
    return tuple(replace(blank, number=at + 1, votes_sft=m) for at, m in enumerate(measures))


def panel(*measures: Measure) -> ClimbPanel:
    series = (Series("people", "votes_sft", climb.is_even_enough),)
    return ClimbPanel("Win rate", rounds(*measures), series, mark=0.5)


def test_a_gap_interrupts_the_line_and_is_named() -> None:
    found = panel(SURE, SURE, NONE, SURE, SURE, THIN)
    (line,) = found.drawn
    assert [path.count("L") for path in line.paths] == [1, 2]
    assert [point.is_enough for point in line.points] == [True, True, True, True, False]
    assert found.notes == ("Not measured: people in round 3", "Not enough: people in round 6")
    for point in line.points:
        assert LEFT <= point.x <= RIGHT
        assert point.top is not None
        assert point.bottom is not None
        assert TOP <= point.top < point.y < point.bottom <= BOTTOM
    assert "round 3: ." not in found.in_words
    assert any(label == "50 %" for _, label in found.ticks)


def test_nothing_measured_is_an_empty_panel() -> None:
    found = panel(NONE, NONE)
    assert (found.drawn, found.ticks, found.mark_y, found.legend) == ((), (), None, ())
    assert found.notes == ("Not measured: people in rounds 1, 2",)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([2], "round 2"), ([1, 2, 4], "rounds 1, 2, 4"), ([1, 3, 4, 5, 9], "rounds 1, 3–5, 9")],
)
def test_rounds_in_words(numbers: list[int], words: str) -> None:
    assert climb_panels.rounds_in_words(numbers) == words

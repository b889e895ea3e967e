"""How far responses may grow or shrink: farther in the direction that people choose."""

from dataclasses import asdict

import pytest

from app.domain import length_limits
from app.domain.length_limits import CHOSEN, USUAL, LengthLimits, LongerWins


@pytest.mark.parametrize(
    ("shares", "limits", "said"),
    [
        ([1.0] * 30 + [0.0] * 5, LengthLimits(longer=CHOSEN), "become 3.1 times as long"),
        ([0.0] * 30 + [1.0] * 5, LengthLimits(shorter=CHOSEN), "become 3.1 times as short"),
        ([1.0] * 18 + [0.0] * 17, LengthLimits(), ""),  # not more often than not
        ([1.0] * 3 + [0.0], LengthLimits(), ""),  # too few to say so
    ],
)
def test_the_limit_is_wider_where_people_choose_length(
    shares: list[float], limits: LengthLimits, said: str
) -> None:
    found = LongerWins.of_prompts(shares)
    assert found is not None
    assert found.low <= found.share <= found.high
    given = length_limits.of({length_limits.RECORDED: asdict(found)})
    assert given == limits
    assert said in given.remark
    assert bool(given.remark) is bool(said)


def test_the_limits_are_the_usual_ones_where_nothing_is_known() -> None:
    assert LongerWins.of_prompts([1.0]) is None
    for settings in ({}, {length_limits.RECORDED: None}):
        assert length_limits.of(settings) == LengthLimits(USUAL, USUAL)

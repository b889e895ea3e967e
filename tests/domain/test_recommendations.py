"""What an evaluation recommends: promotion only where its whole interval is above one half."""

from dataclasses import replace

import pytest

from app.domain import recommendations, win_rates

NOTHING = win_rates.results([], [], arbiter="", scores={}, lengths={})


@pytest.mark.parametrize(
    ("share", "low", "high", "promote", "verdict"),
    [
        (0.48, 0.39, 0.57, False, "No evidence of improvement (48 % [39, 57]): hold"),
        (0.62, 0.55, 0.69, True, "The new policy is better (62 % [55, 69]): promote"),
        (0.38, 0.31, 0.45, False, "The new policy is worse (38 % [31, 45]): hold"),
        (0.53, 0.5, 0.56, False, "No evidence of improvement (53.0 % [50.0, 56.0]): hold"),
        (0.53, 0.502, 0.56, True, "The new policy is better (53.0 % [50.2, 56.0]): promote"),
        (1.0, None, None, False, "No evidence of improvement (100 %, no interval): hold"),
        (None, None, None, False, "No result (nothing has been judged yet): hold"),
    ],
)
def test_the_interval_recommends(
    share: float | None, low: float | None, high: float | None, promote: bool, verdict: str
) -> None:
    found = recommendations.recommend(replace(NOTHING, share=share, low=low, high=high))
    assert found is not None
    assert (found.promote, found.verdict) == (promote, verdict)


def test_without_an_evaluation_nothing_is_recommended() -> None:
    assert recommendations.recommend(None) is None

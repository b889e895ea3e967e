"""The rules of the climb: win rates by scores, recorded figures, and what is enough."""

from typing import Any

import pytest

from app.domain import climb
from app.domain.climb import ScoredPair
from app.domain.measures import Interval, Measure, Undefined
from app.domain.states import RoundState


def share(low: float, high: float) -> Measure:
    return Measure((low + high) / 2, Interval(low, high), 100)


def test_equal_scores_count_half_and_every_prompt_the_same() -> None:
    pairs = [ScoredPair(at, 1.0, 0.0) for at in range(30)]
    pairs += [ScoredPair(100 + at, 0.0, 0.0) for at in range(20)]
    found = climb.by_scores(pairs)
    assert found.value == pytest.approx(0.8)
    assert isinstance(found.interval, Interval)
    assert 0.5 < found.interval.low < 0.8 < found.interval.high < 1.0
    assert climb.by_scores([]).value == Undefined(climb.NO_SCORES)


@pytest.mark.parametrize(
    ("measure", "decides", "precise"),
    [
        (share(0.30, 0.70), False, False),
        (share(0.42, 0.58), True, True),  # even, and known to be
        (share(0.51, 0.95), True, False),  # far from precise, but above one half
        (share(0.10, 0.49), True, False),
        (Measure(0.9, Undefined("one prompt"), 1), False, False),
    ],
)
def test_what_is_enough(measure: Measure, decides: bool, precise: bool) -> None:
    assert climb.is_even_enough(measure) is decides
    assert climb.is_precise(measure) is precise


@pytest.mark.parametrize(
    ("figure", "value", "says"),
    [
        ({"value": 0.7, "low": 0.6, "high": 0.8, "n": 9}, 0.7, None),
        ({"value": 0.7, "n": 9}, 0.7, climb.NOT_RECORDED),
        ({"value": None, "reason": "no votes", "n": 0}, None, "no votes"),
        (2.5, 2.5, climb.ONE_NUMBER),
        (None, None, climb.NOT_RECORDED),
        ("a text", None, climb.NOT_RECORDED),
    ],
)
def test_recorded_figures(figure: Any, value: float | None, says: str | None) -> None:
    found = climb.recorded(figure)
    if value is None:
        assert found.value == Undefined(str(says))
    else:
        assert found.value == value
    assert isinstance(found.interval, Undefined) is (says is not None)


def test_kl_is_of_held_out_prompts_where_there_are_any() -> None:
    assert climb.kl_nats({"kl/k1": 3.0, "heldout/kl": 0.0}) == 0.0
    assert climb.kl_nats({"kl/k1": 3.0, "heldout/kl": None}) == 3.0
    assert climb.kl_nats({}) is None


def test_a_round_counts_from_its_decision_on() -> None:
    counted = {state for state in RoundState if not climb.why_left_out(state, has_policy=True)}
    assert counted == {RoundState.DECIDING, RoundState.PROMOTED, RoundState.HELD}

import math

import pytest

from worker.rlhf.data import Demonstration, Pair, PromptItem, Ranking


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_share_outside_a_probability_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]"):
        Pair(0, 1, share)


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
@pytest.mark.parametrize("name", ["margin", "weight"])
def test_margin_and_weight_are_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"pair {name} must be finite"):
        Pair(0, 1, 0.5, **{name: value})


def test_completion_is_not_compared_with_itself() -> None:
    with pytest.raises(ValueError, match="completion 2 with itself"):
        Pair(2, 2, 1.0)


@pytest.mark.parametrize("pair", [(0, 2), (-1, 0)])
def test_pair_names_completions_that_are_there(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"ranking 'k' has 2 completions, a pair names"):
        Ranking("k", (1,), ((2,), (3,)), (Pair(*pair, 1.0),))


def test_empty_sequences_are_named() -> None:
    with pytest.raises(ValueError, match="ranking 'k': the completion 1 has no token"):
        Ranking("k", (1,), ((2,), ()), ())
    with pytest.raises(ValueError, match="prompt 'p': the prompt has no token"):
        PromptItem("p", ())
    with pytest.raises(ValueError, match="demonstration: the response has no token"):
        Demonstration((1,), ())

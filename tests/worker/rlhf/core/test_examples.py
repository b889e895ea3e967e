import math
from typing import Any

import pytest

from worker.rlhf.core.examples import (
    AbsoluteFeedback,
    PreferencePair,
    PromptItem,
    RankedPrompt,
    TokenizedDemonstration,
)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_share_outside_a_probability_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]"):
        PreferencePair(0, 1, share)


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
@pytest.mark.parametrize("name", ["margin", "weight"])
def test_margin_and_weight_are_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"pair {name} must be finite"):
        PreferencePair(0, 1, 0.5, **{name: value})


def test_completion_is_not_compared_with_itself() -> None:
    with pytest.raises(ValueError, match="completion 2 with itself"):
        PreferencePair(2, 2, 1.0)


@pytest.mark.parametrize("pair", [(0, 2), (-1, 0)])
def test_pair_names_completions_that_are_there(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"ranked prompt 'k' has 2 completions, but a pair refers"):
        RankedPrompt("k", (1,), ((2,), (3,)), (PreferencePair(*pair, 1.0),))


def test_empty_sequences_are_named() -> None:
    with pytest.raises(ValueError, match="ranked prompt 'k': the completion 1 has no token"):
        RankedPrompt("k", (1,), ((2,), ()), ())
    with pytest.raises(ValueError, match="prompt 'p': the prompt has no token"):
        PromptItem("p", ())
    with pytest.raises(ValueError, match="demonstration: the response has no token"):
        TokenizedDemonstration((1,), ())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ratings": {"kind": math.nan}}, "rating of 'kind' must be finite"),
        ({"thumb": 1.5}, r"thumbs up must lie in \[0, 1\], got 1.5"),
        ({"weight": -1.0}, "weight must be finite and not negative, got -1.0"),
    ],
)
def test_feedback_must_be_numbers_in_range(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AbsoluteFeedback(**values)


def test_ratings_and_sources_are_one_per_completion_or_none() -> None:
    with pytest.raises(ValueError, match="ranked prompt 'k' has 2 completions and 1 absolutes"):
        RankedPrompt("k", (1,), ((2,), (3,)), (), absolutes=(AbsoluteFeedback(),))
    with pytest.raises(ValueError, match="2 completions and 3 sources"):
        RankedPrompt("k", (1,), ((2,), (3,)), (), sources=("a", "b", "c"))


def test_a_ranked_prompt_is_judged_by_pairs_ratings_or_thumbs() -> None:
    empty = RankedPrompt("k", (1,), ((2,),), (), absolutes=(AbsoluteFeedback(),))
    assert not empty.is_judged
    for feedback in (AbsoluteFeedback({"kind": 2.0}), AbsoluteFeedback(thumb=0.0)):
        assert RankedPrompt("k", (1,), ((2,),), (), absolutes=(feedback,)).is_judged

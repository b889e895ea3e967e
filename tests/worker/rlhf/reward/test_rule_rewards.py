import pytest

from tests.worker.rlhf import tiny
from worker.rlhf.reward.rule_rewards import FormatRule, LengthRule
from worker.rlhf.reward.shared_prefix import Branches


def of(*texts: str) -> list[Branches]:
    ours = tiny.tokenizer()
    return [Branches([5], [[*ours.encode(text), tiny.EOS]]) for text in texts]


@pytest.mark.parametrize(
    ("tokens", "expected"), [(0, -1.0), (2, -0.5), (4, 0.0), (10, 0.0), (15, -0.5), (30, -2.0)]
)
def test_a_length_costs_the_share_it_is_outside_by(tokens: int, expected: float) -> None:
    assert LengthRule(4, 10).of_length(tokens) == pytest.approx(expected)


def test_completions_are_measured_in_tokens_branch_by_branch() -> None:
    found = LengthRule(longest=2).score([Branches([1], [[5], [5, 6, 7, 8]]), Branches([1], [[5]])])
    assert found.normalized.tolist() == [0.0, -1.0, 0.0]


@pytest.mark.parametrize(("shortest", "longest"), [(0, None), (-1, None), (5, 4), (0, 0)])
def test_bounds_that_mean_nothing_are_refused(shortest: int, longest: int | None) -> None:
    with pytest.raises(ValueError, match="length"):
        LengthRule(shortest, longest)


def test_a_format_is_found_in_the_text_without_special_tokens() -> None:
    rule = FormatRule(r"^\d+\.$", tiny.tokenizer())
    assert rule.score(of("12.", "12. and", "twelve.")).normalized.tolist() == [1.0, 0.0, 0.0]


def test_a_pattern_reaches_over_lines() -> None:
    rule = FormatRule("one.*two", tiny.tokenizer())
    assert rule.score(of("one\ntwo")).raw.tolist() == [1.0]


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="'\\(' is not a regular expression"):
        FormatRule("(", tiny.tokenizer())

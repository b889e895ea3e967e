import pytest

from app.domain import win_rates
from app.domain.win_rates import BlindComparison, EvaluationResults


def results(
    *votes: tuple[float, ...],
    identical: tuple[int, ...] = (),
    gap: float = 1.0,
    by_prompt: int = 1,
) -> EvaluationResults:
    """Measure comparisons with these votes, so many for each prompt."""
    asked = [
        BlindComparison(at // by_prompt, 2 * at, 2 * at + 1, each, 0)
        for at, each in enumerate(votes)
    ]
    scores = {str(2 * at + old): gap * (1 - old) for at in range(len(votes)) for old in (0, 1)}
    return win_rates.results(asked, identical, arbiter="R", scores=scores, lengths={})


def test_identical_responses_are_ties_in_both_shares() -> None:
    found = results((1.0,), (0.0,), (0.5,), identical=(7, 8, 9))
    assert found.share == pytest.approx((1 + 0 + 4 * 0.5) / 6)
    assert found.at_least_as_good == pytest.approx(5 / 6)
    assert (found.tally.identical, found.prompts, found.judged) == (3, 6, 3)


def test_at_least_as_good_counts_prompts_the_same_and_has_an_interval() -> None:
    found = results((1.0, 0.0, 0.5), (0.0,))
    assert found.at_least_as_good == pytest.approx((2 / 3 + 0) / 2)
    assert found.at_least_as_good_low is not None
    assert found.at_least_as_good_high is not None
    assert 0 <= found.at_least_as_good_low < 1 / 3 < found.at_least_as_good_high <= 1


def test_nothing_but_ties_says_so() -> None:
    found = results((0.5,), (0.5,))
    assert (found.share, found.low, found.at_least_as_good) == (0.5, None, 1.0)
    assert found.no_interval == win_rates.ALL_TIES
    assert found.arbiter is not None
    assert (found.arbiter.agreement, found.arbiter.reason) == (None, win_rates.ALL_TIES)


def test_equal_scores_and_no_votes_leave_the_arbiter_without_agreement_for_their_own_reasons() -> (
    None
):
    equal, unjudged = results((1.0,), gap=0.0).arbiter, results(()).arbiter
    assert equal is not None
    assert unjudged is not None
    assert equal.reason == win_rates.EQUAL_SCORES
    assert unjudged.reason == win_rates.NOT_JUDGED
    assert equal.share == 0.5


def test_the_arbiters_agreement_is_clustered_by_prompt() -> None:
    votes = [(1.0,) if at // 10 % 2 else (0.0,) for at in range(60)]
    alone, shared = results(*votes).arbiter, results(*votes, by_prompt=10).arbiter
    assert alone is not None
    assert shared is not None
    assert alone.agreement == shared.agreement == 0.5
    assert alone.agreement_high is not None
    assert shared.agreement_high is not None
    assert shared.agreement_high - 0.5 > 2 * (alone.agreement_high - 0.5)


def test_both_bad_alone_is_not_taken_for_nothing_judged() -> None:
    asked = [BlindComparison(1, 2, 3, (), both_bad=2)]
    found = win_rates.results(asked, (), arbiter="R", scores={"2": 1, "3": 0}, lengths={})
    assert (found.share, found.reason) == (None, win_rates.ALL_BOTH_BAD)
    assert found.arbiter is not None
    assert found.arbiter.reason == win_rates.ALL_BOTH_BAD
    assert results(()).reason == win_rates.NOT_JUDGED
    assert results((1.0,)).reason == results(identical=(5,)).reason == ""


def test_one_judged_prompt_has_a_share_and_the_reason_why_it_has_no_interval() -> None:
    found = results((1.0, 0.0))
    assert found.share == 0.5
    assert found.no_interval == "an interval needs judgments on at least two prompts"
    assert results(()).no_interval == ""

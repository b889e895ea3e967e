from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare, kendalltau  # type: ignore[import-untyped]

from app.domain.kendall import NO_RANKING, rank_agreement, tau_b
from app.domain.measures import Undefined
from app.domain.ranking import Ranking
from app.domain.votes import Vote, tabulate

two = st.integers(2, 9).flatmap(
    lambda k: st.tuples(*[st.lists(st.integers(0, 4), min_size=k, max_size=k)] * 2)
)


def vote(comparison: int, labeler: str, *ranks: int) -> Vote:
    return Vote(comparison, labeler, Ranking(ranks))


@given(two)
def test_tau_b_agrees_with_scipy(positions: tuple[list[int], list[int]]) -> None:
    first, second = positions
    assume(len(set(first)) > 1 and len(set(second)) > 1)
    mine = tau_b(Ranking.of_positions(first), Ranking.of_positions(second))
    assert mine == pytest.approx(kendalltau(first, second).statistic, abs=1e-12)


def test_ends_of_the_scale() -> None:
    up, down = Ranking((1, 2, 3)), Ranking((3, 2, 1))
    assert (tau_b(up, up), tau_b(up, down)) == (1.0, -1.0)
    assert isinstance(tau_b(up, Ranking((1, 1, 1))), Undefined)


def test_comparisons_count_the_same_however_many_judged_them() -> None:
    votes = [vote(1, who, 1, 2, 3) for who in "abcd"]
    votes += [vote(2, "a", 1, 2, 3), vote(2, "b", 3, 2, 1)]
    found = rank_agreement(tabulate(votes))
    assert found.tau.value == 0.0
    assert found.top1.value == 0.5
    assert found.tau.n == 2


def test_first_place_agrees_only_when_exactly_shared() -> None:
    votes = [vote(1, "a", 1, 1, 3), vote(1, "b", 1, 2, 3), vote(2, "a", 1, 1, 3)]
    assert rank_agreement(tabulate(votes)).top1.value == 0.0


def test_picks_are_not_rankings() -> None:
    found = rank_agreement(tabulate([vote(1, "a", 1, 2), vote(1, "b", 1, 2)]))
    assert found.tau.value == Undefined(NO_RANKING)


def test_tau_without_any_order_is_undefined_while_first_place_is_not() -> None:
    found = rank_agreement(tabulate([vote(1, "a", 1, 1, 1), vote(1, "b", 1, 1, 1)]))
    assert isinstance(found.tau.value, Undefined)
    assert found.top1.value == 1.0


rankings_of_one = st.integers(3, 5).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 4), min_size=k, max_size=k), min_size=2, max_size=4)
)


@given(rankings_of_one)
def test_means_over_labeler_pairs_are_those_of_single_pairs(positions: list[list[int]]) -> None:
    rankings = [Ranking.of_positions(places) for places in positions]
    votes = [Vote(7, at, ranking) for at, ranking in enumerate(rankings)]
    found = rank_agreement(tabulate([*votes, vote(8, "alone", 1, 2)]))
    pairs = list(combinations(rankings, 2))
    taus = [tau for pair in pairs if isinstance(tau := tau_b(*pair), float)]
    same = [a.first == b.first for a, b in pairs]
    if taus:
        assert found.tau.value == pytest.approx(sum(taus) / len(taus))
    assert found.top1.value == pytest.approx(sum(same) / len(same))


@given(rankings_of_one)
def test_w_follows_friedmans_statistic(positions: list[list[int]]) -> None:
    # Friedman's chi-squared is m (k - 1) W.
    assume(all(len(set(places)) > 1 for places in positions) and len(positions) > 2)
    votes = [Vote(7, at, Ranking.of_positions(places)) for at, places in enumerate(positions)]
    found = rank_agreement(tabulate(votes)).w
    statistic = friedmanchisquare(*zip(*positions, strict=True)).statistic
    m, k = len(positions), len(positions[0])
    assert found.value == pytest.approx(statistic / (m * (k - 1)), abs=1e-9)

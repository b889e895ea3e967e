from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ranking import Pick, Preference, Ranking, Side, Strength, strength_of
from app.errors import Invalid

positions = st.lists(st.integers(0, 4), min_size=2, max_size=9)


def test_groups_become_standard_competition_ranks() -> None:
    ranking = Ranking.of_groups([["c"], ["a", "d"], ["b"]], ["a", "b", "c", "d"])
    assert ranking.ranks == (2, 4, 1, 2)
    assert ranking.groups == ((2,), (0, 3), (1,))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[7, 8], [7]], "ranking names completion 7 twice"),
        ([[7], [8], [9]], "ranking names completion 9, which is not in the comparison"),
        ([[8]], "ranking leaves out completion 7"),
    ],
)
def test_ranking_must_name_each_candidate_once(groups: list[list[int]], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        Ranking.of_groups(groups, [7, 8])


@pytest.mark.parametrize("ranks", [(1, 2, 2, 3), (2, 2), (0, 1), (1, 3)])
def test_other_numbering_than_competition_ranks_is_refused(ranks: tuple[int, ...]) -> None:
    with pytest.raises(Invalid, match="must be written"):
        Ranking(ranks)


@pytest.mark.parametrize("count", [0, 1, 10])
def test_ranking_has_two_to_nine_completions(count: int) -> None:
    with pytest.raises(Invalid, match=f"2 to 9 completions, not {count}"):
        Ranking.of_positions(list(range(count)))


@given(positions)
def test_every_pair_is_implied_once_and_never_against_the_order(given_positions: list[int]) -> None:
    ranking = Ranking.of_positions(given_positions)
    pairs = ranking.preferences()
    named = {frozenset((p.preferred, p.other)) for p in pairs}
    assert named == {frozenset(pair) for pair in combinations(range(len(given_positions)), 2)}
    assert len(pairs) == len(named)
    for pair in pairs:
        better, worse = given_positions[pair.preferred], given_positions[pair.other]
        assert better == worse if pair.tie else better < worse


@given(positions)
def test_groups_and_ranks_say_the_same(given_positions: list[int]) -> None:
    ranking = Ranking.of_positions(given_positions)
    assert Ranking.of_groups(ranking.groups, range(len(given_positions))) == ranking
    assert ranking.first == {
        i for i, place in enumerate(given_positions) if place == min(given_positions)
    }


def test_pick_is_the_ranking_of_two() -> None:
    assert Pick(Side.A).ranking == Ranking((1, 2))
    assert Pick(Side.B).ranking == Ranking((2, 1))
    assert Pick(Side.TIE).ranking == Ranking((1, 1))
    assert Pick(Side.B, Strength.CLEAR).preferences() == (
        Preference(1, 0, strength=Strength.CLEAR),
    )


def test_tie_has_no_strength() -> None:
    with pytest.raises(Invalid, match="a tie has no strength, but 2 was given"):
        Pick(Side.TIE, Strength.SLIGHT)


@pytest.mark.parametrize("value", [0, 5, True])
def test_strength_has_four_steps(value: int) -> None:
    with pytest.raises(Invalid, match="strength must be 1 to 4"):
        strength_of(value)

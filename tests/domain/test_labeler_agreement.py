import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.labeler_agreement import ALONE, flipped_majorities, in_pairs, with_others
from app.domain.measures import Undefined, wilson
from app.domain.ranking import Pick, Ranking, Side
from app.domain.votes import Vote, tabulate


def vote(comparison: int, labeler: str, side: Side) -> Vote:
    return Vote(comparison, labeler, Pick(side).ranking)


def panel(n: int, accuracies: dict[str, float], seed: int = 0) -> list[Vote]:
    rng = random.Random(seed)
    return [
        vote(c, who, Side.A if rng.random() < accuracy else Side.B)
        for c in range(n)
        for who, accuracy in accuracies.items()
    ]


def test_the_careless_labeler_stands_out() -> None:
    found = {
        row.labeler: row
        for row in with_others(tabulate(panel(3000, {"x": 0.9, "y": 0.9, "z": 0.5})))
    }
    # x agrees with y on 0.82 of pairs and with z on 0.5; z agrees with both on 0.5.
    assert found["x"].raw.value == pytest.approx(0.66, abs=0.03)
    assert found["z"].raw.value == pytest.approx(0.5, abs=0.03)
    assert found["x"].alpha.value == pytest.approx(0.32, abs=0.06)
    assert found["z"].alpha.value == pytest.approx(0.0, abs=0.06)


@given(st.lists(st.tuples(st.sampled_from(Side), st.sampled_from(Side)), min_size=1, max_size=6))
def test_two_labelers_see_the_same_agreement_from_both_sides(
    sides: list[tuple[Side, Side]],
) -> None:
    votes = [vote(c, who, s) for c, both in enumerate(sides) for who, s in zip("ab", both)]  # noqa: B905
    one, other = with_others(tabulate(votes))
    assert one.raw.value == other.raw.value == sum(a is b for a, b in sides) / len(sides)
    (cell,) = in_pairs(tabulate(votes))
    assert cell.raw.value == pytest.approx(one.raw.value)


def test_few_shared_comparisons_show_raw_agreement_only() -> None:
    row = with_others(tabulate(panel(29, {"x": 0.9, "y": 0.9})))[0]
    assert isinstance(row.raw.value, float)
    assert row.alpha.value == Undefined("alpha needs at least 30 shared comparisons, not 29")
    assert isinstance(with_others(tabulate(panel(30, {"x": 0.9, "y": 0.9})))[0].alpha.value, float)


def test_labeler_alone_is_undefined() -> None:
    (row,) = with_others(tabulate([vote(0, "x", Side.A)]))
    assert row.raw.value == row.alpha.value == Undefined(ALONE)


def test_heat_map_has_a_cell_for_each_two_who_met() -> None:
    votes = [
        vote(0, "x", Side.A),
        vote(0, "y", Side.A),
        vote(1, "y", Side.A),
        vote(1, "z", Side.B),
        vote(2, "z", Side.B),
        vote(2, "y", Side.B),
    ]
    cells = {(cell.first, cell.second): cell.raw for cell in in_pairs(tabulate(votes))}
    assert list(cells) == [("x", "y"), ("y", "z")]
    assert cells["x", "y"].value == 1.0
    assert cells["y", "z"].value == 0.5
    assert cells["x", "y"].interval == wilson(1, 1)


def test_unanimity_survives_losing_one_and_a_casting_vote_does_not() -> None:
    votes = [vote(0, who, Side.A) for who in "xyz"]
    votes += [vote(1, "x", Side.A), vote(1, "y", Side.A), vote(1, "z", Side.B)]
    votes += [vote(2, "x", Side.B)]
    assert flipped_majorities(tabulate(votes)) == {"x": 2, "y": 1, "z": 0}


def test_a_ranking_flips_once_however_many_pairs_turn() -> None:
    votes = [Vote(0, "x", Ranking((1, 2, 3))), Vote(0, "y", Ranking((3, 2, 1)))]
    assert flipped_majorities(tabulate(votes)) == {"x": 1, "y": 1}


def test_cohen_of_two_labelers_counts_both_orders_of_the_responses() -> None:
    sides = [(Side.A, Side.A)] * 6 + [(Side.A, Side.B)] * 2 + [(Side.TIE, Side.A)] * 2
    votes = [vote(c, who, s) for c, both in enumerate(sides) for who, s in zip("ab", both)]  # noqa: B905
    (cell,) = in_pairs(tabulate(votes))
    # Of each labeler's twenty values, one is a tie in five; the other never ties.
    expected = 2 * 0.4 * 0.5
    assert cell.kappa.value == pytest.approx((0.6 - expected) / (1 - expected))


def test_labelers_who_judge_comparisons_of_few_prompts_have_wider_intervals() -> None:
    votes = panel(200, {"x": 0.8, "y": 0.8})
    shared = [
        Vote(v.comparison, v.labeler, v.ranking, prompt=hash(v.comparison) // 10) for v in votes
    ]
    alone, together = (with_others(tabulate(some))[0].raw for some in (votes, shared))
    assert alone.value == together.value
    assert alone.n == together.n == 200
    assert alone.interval != together.interval

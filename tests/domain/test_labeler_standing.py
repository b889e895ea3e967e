import numpy as np
import pytest

from app.domain.labeler_agreement import ALONE
from app.domain.labeler_standing import NO_THIRD, contrary, remark_level, standings
from app.domain.measures import Undefined
from app.domain.ranking import Pick, Ranking, Side
from app.domain.votes import Vote, tabulate
from tests.domain.simulated_panels import PanelPlan, simulate

OTHER = {Side.A: Side.B, Side.B: Side.A}


def votes_of(picks: dict[str, list[Side]]) -> list[Vote]:
    return [
        Vote(comparison, who, Pick(side).ranking)
        for who, sides in picks.items()
        for comparison, side in enumerate(sides)
    ]


def test_the_contrary_labeler_is_below_chance_and_the_others_are_not() -> None:
    said = [Side.A, Side.B] * 15
    found = standings(tabulate(votes_of({"x": said, "y": said, "z": [OTHER[s] for s in said]})))
    assert [row.is_below_chance for row in found] == [False, False, True]
    assert [row.with_others.value for row in found] == [0.5, 0.5, 0.0]
    assert [row.others.value for row in found] == [0.0, 0.0, 1.0]


def test_of_two_contrary_labelers_both_are_below_chance() -> None:
    said = [Side.A, Side.B] * 15
    found = standings(tabulate(votes_of({"x": said, "z": [OTHER[s] for s in said]})))
    assert all(row.is_below_chance and row.labelers == 2 for row in found)
    assert found[0].others.value == Undefined(NO_THIRD)


def test_a_ranking_counts_no_more_than_a_pick() -> None:
    said = [Side.A, Side.B] * 20
    votes = votes_of({"x": said, "y": said, "z": [OTHER[s] for s in said]})
    up, down = Ranking((1, 2, 3, 4)), Ranking((4, 3, 2, 1))
    votes += [Vote(100 + n, who, down if n % 2 else up) for n in range(12) for who in "xyz"]
    assert [row.is_below_chance for row in standings(tabulate(votes))] == [False, False, True]


def test_few_judgments_are_no_proof() -> None:
    said = [Side.A] * 4
    found = standings(tabulate(votes_of({"x": said, "y": said, "z": [Side.B] * 4})))
    assert not any(row.is_below_chance for row in found)


def test_a_coin_is_far_below_the_others_but_not_below_chance() -> None:
    panel = simulate(PanelPlan(400, 1, ("coin", *["honest"] * 4), (4,)), seed=3)
    coin, *honest = standings(panel.table)
    assert coin.is_far_below_others
    assert not coin.is_below_chance
    assert not any(row.is_far_below_others for row in honest)


def test_ties_alone_leave_a_labeler_alone() -> None:
    found = standings(tabulate([Vote(0, who, Ranking((1, 1))) for who in "xyz"]))
    assert [row.with_others.value for row in found] == [Undefined(ALONE)] * 3
    assert not any(row.is_below_chance or row.is_far_below_others for row in found)
    assert standings(tabulate([])) == ()


@pytest.mark.parametrize("labelers", [1, 3, 50])
def test_the_level_shares_the_probability_of_a_false_remark(labelers: int) -> None:
    assert labelers * (1 - remark_level(labelers)) == pytest.approx(0.02)


def test_who_rates_high_what_others_rate_low_is_contrary() -> None:
    rng = np.random.default_rng(0)
    quality = rng.integers(1, 6, 60).astype(float)
    noise = rng.integers(-1, 2, (3, 60))
    ratings = np.stack([quality, quality, 6 - quality]) + noise
    unit = np.tile(np.arange(60), 3)
    labeler = np.repeat(np.arange(3), 60)
    assert contrary(ratings.ravel().astype(float), unit, labeler, unit, 3).tolist() == [
        False,
        False,
        True,
    ]
    # A labeler who gives everything the same rating contradicts nobody.
    ratings[2] = 3
    assert not contrary(ratings.ravel().astype(float), unit, labeler, unit, 3).any()

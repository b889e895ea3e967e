"""The closed forms agree with what simulated labelers actually say."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.judgment_kinds import JudgmentKind
from app.simulation import expected, labelers
from app.simulation.expected import ComparedCompletions
from app.simulation.labelers import ComparisonView, ShownCompletion, SimulatedLabeler
from tests.simulation.test_labelers import by_number

N = 4000
SHARE_TOLERANCE = 0.04
EXACT = SimulatedLabeler("exact", by_number, seed=3)
LABELERS = [
    EXACT,
    replace(EXACT, flip_rate=0.15),
    replace(EXACT, temperature=0.6),
    replace(EXACT, temperature=0.6, flip_rate=0.1, position_bias=0.8, tie_band=0.3),
    replace(EXACT, position_bias=0.9, length_bias=1.0, tie_band=0.4),
    replace(EXACT, flip_rate=0.9, temperature=0.2),
]
FIRST, SECOND = "0.5 some words", "0.0 and some more words"


@pytest.mark.parametrize("labeler", LABELERS)
def test_choice_is_what_picks_come_to_over_both_orders(labeler: SimulatedLabeler) -> None:
    shown = (ShownCompletion(1, FIRST), ShownCompletion(2, SECOND))
    said = [
        labeler.judge(
            ComparisonView(f"c{n}", "p", order, JudgmentKind.PICK, allows_ties=True)
        ).preferred
        for n in range(N)
        for order in (shown, shown[::-1])
    ]
    choice = expected.choice_probabilities(labeler, "p", FIRST, SECOND, allows_ties=True)
    assert choice.first == pytest.approx(said.count(1) / len(said), abs=SHARE_TOLERANCE)
    assert choice.second == pytest.approx(said.count(2) / len(said), abs=SHARE_TOLERANCE)
    assert choice.tie == pytest.approx(said.count(None) / len(said), abs=SHARE_TOLERANCE)


def test_pairs_of_rankings_choose_as_picks_do() -> None:
    labeler = replace(EXACT, temperature=0.7, flip_rate=0.1)
    texts = ["0.9 a", "0.4 b", "0.1 c", "-0.6 d"]
    shown = tuple(ShownCompletion(key, text) for key, text in enumerate(texts))
    orders = [
        labeler.judge(ComparisonView(f"c{n}", "p", shown, JudgmentKind.RANK)).groups
        for n in range(N)
    ]
    for i, j in itertools.combinations(range(4), 2):
        share = sum(order.index((i,)) < order.index((j,)) for order in orders) / N
        choice = expected.choice_probabilities(labeler, "p", texts[i], texts[j])
        assert choice.first == pytest.approx(share, abs=SHARE_TOLERANCE)


def test_lines_of_a_panel_that_only_flips_have_their_closed_forms() -> None:
    three = labelers.panel(replace(EXACT, flip_rate=0.15), 3)
    compared = [
        ComparedCompletions("p", ("1 a", "0 b", "-2 c")),
        ComparedCompletions("q", ("3 a", "0 b")),
    ]
    assert expected.agreement_with_truth(three, by_number, compared) == pytest.approx(0.85)
    assert expected.human_level(three, compared) == pytest.approx(0.85**2 + 0.15**2)
    assert expected.noise_ceiling(three, compared) == pytest.approx(0.85)


def test_labelers_of_unlike_care_agree_as_often_as_the_hasty_one_is_right() -> None:
    panel = [replace(EXACT, name="careful"), replace(EXACT, name="hasty", flip_rate=0.3)]
    compared = [ComparedCompletions("p", (FIRST, SECOND))]
    assert expected.human_level(panel, compared) == pytest.approx(0.7)
    assert expected.noise_ceiling(panel, compared) == pytest.approx(0.85)


def test_human_level_is_how_often_two_labelers_agree() -> None:
    panel = [
        replace(EXACT, name="careful", temperature=0.3),
        replace(EXACT, name="hasty", temperature=0.5, flip_rate=0.2, position_bias=0.5),
    ]
    shown = (ShownCompletion(1, FIRST), ShownCompletion(2, SECOND))
    agree = 0
    for n in range(N):
        for orders in itertools.product((shown, shown[::-1]), repeat=2):
            picks = {
                who.judge(ComparisonView(f"c{n}", "p", order, JudgmentKind.PICK)).preferred
                for who, order in zip(panel, orders, strict=True)
            }
            agree += len(picks) == 1
    level = expected.human_level(panel, [ComparedCompletions("p", (FIRST, SECOND))])
    assert level == pytest.approx(agree / (4 * N), abs=SHARE_TOLERANCE)


values = st.lists(st.integers(-30, 30), min_size=2, max_size=4)


@given(st.lists(values, min_size=1, max_size=6), st.floats(0.05, 3), st.floats(0, 0.45))
def test_the_ceiling_lies_in_the_band_that_human_level_leaves(
    comparisons: list[list[int]], temperature: float, flip_rate: float
) -> None:
    alike = labelers.panel(replace(EXACT, temperature=temperature, flip_rate=flip_rate), 3)
    compared = [ComparedCompletions("p", tuple(f"{x / 10} t" for x in one)) for one in comparisons]
    level = expected.human_level(alike, compared)
    ceiling = expected.noise_ceiling(alike, compared)
    tolerance = 1e-6
    assert level - tolerance <= ceiling
    assert ceiling <= (1 + math.sqrt(max(2 * level - 1, 0))) / 2 + tolerance
    truth = expected.agreement_with_truth(alike, by_number, compared)
    assert math.isnan(truth) or truth <= 1


def test_comparisons_weigh_equally_however_many_completions_they_have() -> None:
    sure, unsure = (
        ComparedCompletions("p", ("9 a", "-9 b")),
        ComparedCompletions("q", ("0 a", "0 b", "0 c", "0 d")),
    )
    noisy = [replace(EXACT, temperature=0.1)]
    assert expected.noise_ceiling(noisy, [sure, unsure]) == pytest.approx((1.0 + 0.5) / 2)


def test_nothing_to_compare_is_not_a_number() -> None:
    equal = [ComparedCompletions("p", ("1 a", "1 b"))]
    assert math.isnan(expected.agreement_with_truth([EXACT], by_number, equal))
    assert math.isnan(expected.noise_ceiling([EXACT], []))

"""A simulated labeler does what its traits say, and the same every time."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.judgment_kinds import JudgmentKind
from app.simulation import labelers
from app.simulation.labelers import (
    ComparisonView,
    ShownCompletion,
    SimulatedJudgment,
    SimulatedLabeler,
)

N = 4000
# Five standard errors of a share of N draws stay below this.
SHARE_TOLERANCE = 0.04


def by_number(prompt: str, text: str) -> float:
    """Return the utility written at the start of the text."""
    return float(text.split()[0])


EXACT = SimulatedLabeler("exact", by_number, seed=1)


def question(
    *utilities: float,
    kind: JudgmentKind = JudgmentKind.RANK,
    allows_ties: bool = False,
    allows_both_bad: bool = False,
    asks_strength: bool = False,
) -> ComparisonView:
    shown = tuple(ShownCompletion(key, f"{utility} text") for key, utility in enumerate(utilities))
    return ComparisonView("c", "prompt", shown, kind, allows_ties, allows_both_bad, asks_strength)


def turned(asked: ComparisonView) -> ComparisonView:
    return replace(asked, shown=asked.shown[::-1])


def many(asked: ComparisonView) -> Iterator[ComparisonView]:
    for n in range(N):
        yield replace(asked, comparison=f"c{n}")


def share_preferring_first(labeler: SimulatedLabeler, asked: ComparisonView) -> float:
    return sum(labeler.judge(one).preferred == 0 for one in many(asked)) / N


utilities = st.lists(st.integers(-50, 50), min_size=2, max_size=9, unique=True)


@given(utilities, st.integers(0, 99))
def test_without_flips_or_noise_the_order_is_the_truth(values: list[int], seed: int) -> None:
    answer = replace(EXACT, seed=seed).judge(question(*values))
    truth = sorted(range(len(values)), key=lambda key: -values[key])
    assert answer.groups == tuple((key,) for key in truth)


@given(utilities, st.integers(0, 99))
def test_a_flip_rate_of_one_reverses_the_truth(values: list[int], seed: int) -> None:
    answer = replace(EXACT, seed=seed, flip_rate=1.0).judge(question(*values))
    truth = EXACT.judge(question(*values)).groups
    assert answer.groups == truth[::-1]


@given(utilities, st.randoms(use_true_random=False))
def test_the_order_shown_does_not_matter_without_position_bias(
    values: list[int], rng: random.Random
) -> None:
    noisy = replace(EXACT, temperature=5.0, flip_rate=0.2, tie_band=2.0)
    asked = question(*values, allows_ties=True)
    shown = list(asked.shown)
    rng.shuffle(shown)
    assert noisy.judge(asked) == noisy.judge(replace(asked, shown=tuple(shown)))


def test_answers_follow_from_seed_name_and_comparison() -> None:
    noisy = replace(EXACT, temperature=1.0, flip_rate=0.2)
    asked = question(0.0, 0.1, 0.2, 0.3)

    def answers(labeler: SimulatedLabeler) -> list[SimulatedJudgment]:
        return [labeler.judge(one) for one in itertools.islice(many(asked), 20)]

    assert answers(noisy) == answers(noisy)
    assert answers(noisy) != answers(replace(noisy, seed=2))
    assert answers(noisy) != answers(replace(noisy, name="other"))
    first, second, *_ = answers(noisy)
    assert first.active_s != second.active_s


@pytest.mark.parametrize("flip_rate", [0.0, 0.15, 0.5, 0.8, 1.0])
def test_every_pair_of_a_pick_or_ranking_is_flipped_at_the_flip_rate(flip_rate: float) -> None:
    flipping = replace(EXACT, flip_rate=flip_rate)
    for values in ((2.0, 1.0), (4.0, 3.0, 2.0, 1.0)):
        orders = [flipping.judge(one).groups for one in many(question(*values))]
        for better, worse in itertools.combinations(range(len(values)), 2):
            flips = sum(order.index((worse,)) < order.index((better,)) for order in orders)
            assert flips / N == pytest.approx(flip_rate, abs=SHARE_TOLERANCE)


def test_noise_makes_choices_logistic_in_the_gap() -> None:
    noisy = replace(EXACT, temperature=0.5)
    # sigma(0.5 / 0.5) = 0.7311
    assert share_preferring_first(
        noisy, question(1.0, 0.5, kind=JudgmentKind.PICK)
    ) == pytest.approx(0.7311, abs=SHARE_TOLERANCE)


def test_position_bias_favours_what_is_shown_first() -> None:
    biased = replace(EXACT, position_bias=0.5, temperature=1.0)
    even = question(1.0, 1.0, kind=JudgmentKind.PICK)
    # sigma(0.5) = 0.6225
    assert share_preferring_first(biased, even) == pytest.approx(0.6225, abs=SHARE_TOLERANCE)
    assert share_preferring_first(biased, turned(even)) == pytest.approx(
        0.3775, abs=SHARE_TOLERANCE
    )


def test_length_bias_favours_the_longer_text() -> None:
    shown = (ShownCompletion(0, "1.0 " + "word " * 19), ShownCompletion(1, "1.5 short"))
    asked = ComparisonView("c", "prompt", shown, JudgmentKind.PICK)
    assert EXACT.judge(asked).preferred == 1
    assert replace(EXACT, length_bias=0.5).judge(asked).preferred == 0


def test_ties_are_said_within_the_band_and_only_where_allowed() -> None:
    tying = replace(EXACT, tie_band=0.5)
    assert tying.judge(question(1.0, 0.6, 0.0, allows_ties=True)).groups == ((0, 1), (2,))
    assert tying.judge(question(1.0, 0.6, 0.0)).groups == ((0,), (1,), (2,))
    tie = tying.judge(question(1.0, 0.6, kind=JudgmentKind.PICK, allows_ties=True))
    assert tie.preferred is None


def test_exactly_equal_completions_are_ordered_by_chance_without_ties() -> None:
    assert share_preferring_first(
        EXACT, question(1.0, 1.0, kind=JudgmentKind.PICK)
    ) == pytest.approx(0.5, abs=SHARE_TOLERANCE)


def test_strength_grows_with_the_gap() -> None:
    gaps = (0.1, 0.5, 1.2, 3.0)
    asked = [question(gap, 0.0, kind=JudgmentKind.PICK, asks_strength=True) for gap in gaps]
    assert [EXACT.judge(one).strength for one in asked] == [1, 2, 3, 4]
    assert EXACT.judge(question(1.0, 0.0, kind=JudgmentKind.PICK)).strength is None


def test_both_bad_is_said_beside_the_preference_and_only_where_allowed() -> None:
    answer = EXACT.judge(question(-3.0, -2.0, kind=JudgmentKind.PICK, allows_both_bad=True))
    assert answer.both_bad
    assert answer.preferred == 1
    assert not EXACT.judge(question(-3.0, -2.0, kind=JudgmentKind.PICK)).both_bad
    assert not EXACT.judge(
        question(-3.0, 2.0, kind=JudgmentKind.PICK, allows_both_bad=True)
    ).both_bad


def test_skips_come_at_the_skip_rate_with_a_reason_and_nothing_else() -> None:
    skipping = replace(EXACT, skip_rate=0.1)
    answers = [skipping.judge(one) for one in many(question(1.0, 0.0))]
    skips = [answer for answer in answers if answer.skip_reason]
    assert len(skips) / N == pytest.approx(0.1, abs=SHARE_TOLERANCE)
    assert all(answer.groups == () for answer in skips)


def test_ratings_grow_with_utility_within_the_scale() -> None:
    asked = replace(
        question(-9.0, -1.0, 0.0, 1.0, 9.0, kind=JudgmentKind.RATE), criteria=("quality",)
    )
    ratings = EXACT.judge(asked).ratings
    assert [ratings[key, "quality"] for key in range(5)] == [1, 2, 3, 4, 5]
    flipped = replace(EXACT, flip_rate=1.0).judge(asked).ratings
    assert [flipped[key, "quality"] for key in range(5)] == [5, 4, 3, 2, 1]


def test_thumbs_go_up_for_what_is_liked_and_flip() -> None:
    good, bad = question(1.0, kind=JudgmentKind.THUMBS), question(-1.0, kind=JudgmentKind.THUMBS)
    assert EXACT.judge(good).thumb_up is True
    assert EXACT.judge(bad).thumb_up is False
    assert replace(EXACT, flip_rate=1.0).judge(good).thumb_up is False


def test_a_text_is_written_where_one_is_known_and_worth_more_than_what_is_shown() -> None:
    writer = replace(EXACT, knows=lambda prompt: "2 known" if prompt == "prompt" else None)
    assert writer.judge(question(kind=JudgmentKind.WRITE)).text == "2 known"
    assert writer.judge(question(1.0, kind=JudgmentKind.EDIT)).text == "2 known"
    for kept in (question(3.0, kind=JudgmentKind.EDIT), question(2.0, kind=JudgmentKind.EDIT)):
        assert writer.judge(kept).skip_reason == "it is good as it is"
    assert EXACT.judge(question(kind=JudgmentKind.WRITE)).skip_reason == "knows nothing better"
    unknown = replace(question(kind=JudgmentKind.WRITE), prompt="another")
    assert writer.judge(unknown).skip_reason == "knows nothing better"


def test_judgments_take_the_stated_time_on_average() -> None:
    slow = replace(EXACT, seconds_per_judgment=10.0)
    mean = sum(slow.judge(one).active_s for one in many(question(1.0, 0.0))) / N
    assert mean == pytest.approx(10.0, rel=0.05)


def test_a_panel_differs_in_name_only_and_disagrees_under_noise() -> None:
    three = labelers.panel(replace(EXACT, temperature=2.0), 3)
    assert len({one.name for one in three}) == 3
    assert {replace(one, name="") for one in three} == {replace(three[0], name="")}
    said = {
        tuple(one.judge(q).preferred for q in itertools.islice(many(question(0.0, 0.1)), 30))
        for one in three
    }
    assert len(said) == 3


@pytest.mark.parametrize(
    ("trait", "build"),
    [
        ("flip_rate", lambda: replace(EXACT, flip_rate=1.2)),
        ("skip_rate", lambda: replace(EXACT, skip_rate=-0.1)),
        ("temperature", lambda: replace(EXACT, temperature=-1.0)),
        ("tie_band", lambda: replace(EXACT, tie_band=float("nan"))),
    ],
)
def test_impossible_traits_are_refused_by_name(
    trait: str, build: Callable[[], SimulatedLabeler]
) -> None:
    with pytest.raises(ValueError, match=trait):
        build()


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (JudgmentKind.PICK, 3),
        (JudgmentKind.RANK, 1),
        (JudgmentKind.RANK, 10),
        (JudgmentKind.THUMBS, 2),
    ],
)
def test_a_comparison_of_the_wrong_size_is_refused(kind: JudgmentKind, count: int) -> None:
    with pytest.raises(ValueError, match=f"shows {count}"):
        EXACT.judge(question(*range(count), kind=kind))


def test_a_completion_shown_twice_is_refused() -> None:
    shown = (ShownCompletion(7, "1 a"), ShownCompletion(7, "2 b"))
    with pytest.raises(ValueError, match="twice"):
        EXACT.judge(ComparisonView("c", "prompt", shown, JudgmentKind.PICK))

"""Agreement on preferences and ratings."""

import random
from collections.abc import Hashable
from itertools import combinations
from typing import Literal

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.agreement import (
    ALL_TIES,
    NONE_DECIDED,
    PreferenceAgreement,
    Rating,
    by_comparison,
    rating_report,
    report,
    shares_with_others,
)
from app.domain.krippendorff import DistanceMetric
from app.domain.measures import Interval, Measure, Undefined
from app.domain.noise_ceiling import Levels
from app.domain.ranking import Pick, Ranking, Side, Strength
from app.domain.votes import Vote
from app.errors import Invalid
from tests.domain.alpha_of_units import alpha

TOLERANCE = 1e-9
LEVELS: dict[DistanceMetric, Literal["nominal", "ordinal"]] = {
    DistanceMetric.NOMINAL: "nominal",
    DistanceMetric.ORDINAL: "ordinal",
}


def vote_of(comparison: Hashable, labeler: Hashable, pick: Pick) -> Vote:
    return Vote(comparison, labeler, pick.ranking, pick.strength)


@st.composite
def vote_sets(draw: st.DrawFn, most: int = 4) -> list[Vote]:
    votes = []
    for comparison in range(draw(st.integers(1, 4))):
        k = draw(st.integers(2, most))
        for labeler in draw(st.sets(st.sampled_from("abcd"), min_size=1)):
            places = draw(st.lists(st.integers(0, 3), min_size=k, max_size=k))
            votes.append(Vote(comparison, labeler, Ranking.of_positions(places)))
    return votes


def number(measure: Measure) -> float:
    assert isinstance(measure.value, float)
    return measure.value


def same(one: Measure, other: Measure) -> None:
    if isinstance(one.value, Undefined):
        assert other.value == one.value
    else:
        assert other.value == pytest.approx(one.value, abs=TOLERANCE)


def assert_same_agreement(one: PreferenceAgreement, other: PreferenceAgreement) -> None:
    for a, b in [
        (one.raw, other.raw),
        (one.decided, other.decided),
        (one.alpha, other.alpha),
        (one.ranks.tau, other.ranks.tau),
        (one.ranks.top1, other.ranks.top1),
        (one.ranks.w, other.ranks.w),
        (one.alpha_by_comparison, other.alpha_by_comparison),
        (one.cohen, other.cohen),
        (one.fleiss, other.fleiss),
    ]:
        same(a, b)
    assert (one.units, one.pairable, one.coverage) == (other.units, other.pairable, other.coverage)


def simulated(n: int, labelers: int, accuracy: float, seed: int = 0) -> list[Vote]:
    rng = random.Random(seed)
    votes = []
    for comparison in range(n):
        best = rng.random() < 0.5
        for labeler in range(labelers):
            first = best if rng.random() < accuracy else not best
            pick = Pick(Side.A if first else Side.B)
            votes.append(vote_of(comparison, labeler, pick))
    return votes


def test_two_labelers_right_85_percent_of_the_time_have_alpha_049() -> None:
    # Two-way agreement is 0.85² + 0.15² = 0.745, and alpha is 2A - 1 = 0.49.
    found = report(simulated(20_000, 2, 0.85, seed=2))
    assert number(found.raw) == pytest.approx(0.745, abs=0.015)
    assert number(found.alpha) == pytest.approx(0.49, abs=0.03)
    assert isinstance(found.alpha.interval, Interval)
    assert found.alpha.interval.low < 0.49 < found.alpha.interval.high


def test_sides_of_the_screen_say_nothing_once_order_is_shuffled() -> None:
    rng = random.Random(3)
    slots = [
        [int((pick.ranking.ranks == (1, 2)) == (rng.random() < 0.5)) for pick in pair]
        for pair in zip(*[iter(simulated(20_000, 2, 0.85))] * 2, strict=True)
    ]
    assert alpha(slots) == pytest.approx(0, abs=0.03)


@given(st.lists(st.lists(st.sampled_from([Side.A, Side.B]), min_size=3, max_size=3), min_size=1))
def test_alpha_without_ties_is_2a_minus_1_and_the_small_sample_term(
    sides: list[list[Side]],
) -> None:
    votes = [
        vote_of(c, who, Pick(side)) for c, row in enumerate(sides) for who, side in enumerate(row)
    ]
    found = report(votes)
    raw, values = number(found.raw), 2 * 3 * len(sides)
    assert number(found.alpha) == pytest.approx(2 * raw - 1 + 2 * (1 - raw) / values)


def test_alpha_holds_for_unequal_overlap_too() -> None:
    votes = simulated(200, 2, 0.8) + [
        vote_of(c, who, Pick(Side.A)) for c in range(200, 230) for who in range(5)
    ]
    found = report(votes)
    by_comparison_alpha = number(found.alpha_by_comparison)
    assert by_comparison_alpha == pytest.approx(2 * number(found.raw) - 1, abs=0.01)


def published_alpha(votes: list[Vote], metric: DistanceMetric) -> float:
    """Compute alpha by an independent library, of every pair in both orders."""
    units: dict[Hashable, int] = {}
    cells: dict[tuple[Hashable, int], int] = {}
    for v in votes:
        for pair, sign in enumerate(v.ranking.signs):
            cells[v.labeler, units.setdefault((v.comparison, pair), len(units))] = sign
    data = np.full((4, 2 * len(units)), np.nan)
    for (labeler, unit), sign in cells.items():
        data["abcd".index(str(labeler)), [2 * unit, 2 * unit + 1]] = sign, -sign
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement=LEVELS[metric]))


@given(vote_sets())
def test_alpha_is_the_published_one_with_unequal_overlap_and_rankings_too(
    votes: list[Vote],
) -> None:
    found = report(votes)
    if isinstance(found.alpha.value, Undefined):
        return
    assert found.alpha.value == pytest.approx(published_alpha(votes, found.metric), abs=TOLERANCE)


def test_unequal_overlap_parts_the_two_weightings_of_alpha() -> None:
    # Five agree on each of twenty comparisons; two agree on only half of another twenty.
    votes = [vote_of(c, who, Pick(Side.A)) for c in range(20) for who in "abcde"]
    for c in range(20, 40):
        votes += [vote_of(c, "a", Pick(Side.A)), vote_of(c, "b", Pick(Side.A if c % 2 else Side.B))]
    found = report(votes)
    # 120 of 140 judgments, and 30 of 40 comparisons, agree; the rest is the small-sample term.
    assert number(found.alpha) == pytest.approx(1 - 279 / 280 * 2 * 20 / 140)
    assert number(found.alpha_by_comparison) == pytest.approx(1 - 279 / 280 * 2 * 10 / 40)
    # The kappa counts each pair of responses, which here are as many as comparisons.
    assert number(found.fleiss) == pytest.approx(2 * 30 / 40 - 1)


def test_equal_overlap_makes_both_weightings_of_alpha_one() -> None:
    found = report(simulated(40, 3, 0.8))
    assert number(found.alpha_by_comparison) == pytest.approx(number(found.alpha))


@given(vote_sets(), st.randoms(use_true_random=False))
def test_renaming_labelers_and_comparisons_and_reordering_votes_changes_nothing(
    votes: list[Vote], rng: random.Random
) -> None:
    names = list("wxyz")
    rng.shuffle(names)
    renamed = [
        Vote(f"c{9 - v.comparison}", names["abcd".index(v.labeler)], v.ranking)  # type: ignore
        for v in votes
    ]
    rng.shuffle(renamed)
    assert_same_agreement(report(votes), report(renamed))


@given(vote_sets(), st.randoms(use_true_random=False))
def test_renaming_candidates_changes_nothing(votes: list[Vote], rng: random.Random) -> None:
    orders: dict[object, list[int]] = {}
    for v in votes:
        order = list(range(len(v.ranking.ranks)))
        rng.shuffle(order)
        orders.setdefault(v.comparison, order)
    renamed = [
        Vote(
            v.comparison,
            v.labeler,
            Ranking(tuple(v.ranking.ranks[i] for i in orders[v.comparison])),
        )
        for v in votes
    ]
    assert_same_agreement(report(votes), report(renamed))


@given(vote_sets(), st.randoms(use_true_random=False))
def test_display_order_cannot_matter(votes: list[Vote], rng: random.Random) -> None:
    # What was seen is reordered per labeler; what is stored is read back to canonical order.
    shown = []
    for v in votes:
        order = list(range(len(v.ranking.ranks)))
        rng.shuffle(order)
        on_screen = [[order.index(i) for i in group] for group in v.ranking.groups]
        groups = [[order[place] for place in group] for group in on_screen]
        shown.append(Vote(v.comparison, v.labeler, Ranking.of_groups(groups, sorted(order))))
    assert report(shown) == report(votes)


@given(vote_sets())
def test_raw_agreement_is_the_mean_over_comparisons_of_the_mean_over_pairs(
    votes: list[Vote],
) -> None:
    means = []
    for c in sorted({v.comparison for v in votes}):  # type: ignore[type-var]
        rows = [v.ranking.signs for v in votes if v.comparison == c]
        shares = [
            sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
            for a, b in combinations(rows, 2)
        ]
        if shares:
            means.append(sum(shares) / len(shares))
    raw = report(votes).raw
    if means:
        assert raw.value == pytest.approx(sum(means) / len(means), abs=TOLERANCE)
    else:
        assert isinstance(raw.value, Undefined)


def test_a_large_ranking_counts_no_more_than_a_pick() -> None:
    votes = [Vote(0, who, Ranking(tuple(range(1, 10)))) for who in "ab"]
    votes += [Vote(1, "a", Ranking((1, 2))), Vote(1, "b", Ranking((2, 1)))]
    assert number(report(votes).raw) == pytest.approx(0.5)


def test_nothing_is_nan_without_votes() -> None:
    found = report([])
    assert isinstance(found.coverage, Undefined)
    for measure in (found.raw, found.decided, found.alpha, found.ranks.tau, found.strength_alpha):
        assert isinstance(measure.value, Undefined)
        assert isinstance(measure.interval, Undefined)
    assert isinstance(found.levels, Undefined)


def test_all_ties_are_undefined_with_a_sentence() -> None:
    votes = [Vote(c, who, Ranking((1, 1))) for c in range(3) for who in "ab"]
    found = report(votes)
    assert found.raw.value == 1.0
    assert isinstance(found.alpha.value, Undefined)
    assert "all judgments are equal" in found.alpha.value.reason
    assert found.decided.value == found.levels == Undefined(ALL_TIES)


def test_ties_against_choices_leave_no_decided_pair_and_say_so() -> None:
    votes = [Vote(0, "a", Ranking((1, 1))), Vote(0, "b", Ranking((1, 2)))]
    assert report(votes).decided.value == Undefined(NONE_DECIDED)
    assert report(votes[:1]).decided.value == Undefined(ALL_TIES)
    assert report(votes[1:]).decided.value == Undefined("no comparison has two judgments")


def test_coverage_counts_units_judged_twice() -> None:
    votes = [
        Vote(0, "a", Ranking((1, 2))),
        Vote(0, "b", Ranking((1, 2))),
        Vote(1, "a", Ranking((1, 2, 3))),
    ]
    found = report(votes)
    assert (found.comparisons, found.judgments, found.labelers) == (2, 3, 2)
    assert (found.units, found.pairable, found.coverage) == (4, 1, 0.25)


def test_ties_make_the_metric_ordinal_and_stay_out_of_the_human_level() -> None:
    votes = [
        Vote(0, "a", Ranking((1, 2))),
        Vote(0, "b", Ranking((1, 2))),
        Vote(1, "a", Ranking((1, 1))),
        Vote(1, "b", Ranking((1, 2))),
    ]
    found = report(votes)
    assert found.metric is DistanceMetric.ORDINAL
    assert number(found.raw) == 0.5
    assert number(found.decided) == 1.0
    assert found.levels == Levels(1.0, 1.0, 1.0)


def test_strength_alpha_needs_strength_on_every_vote() -> None:
    def vote(c: int, who: str, side: Side, strength: Strength | None) -> Vote:
        return vote_of(c, who, Pick(side, strength))

    strong = [vote(c, w, Side.A, Strength.STRONG) for c in range(3) for w in "ab"]
    near = [vote(9, "a", Side.B, Strength.CLEAR), vote(9, "b", Side.B, Strength.SLIGHT)]
    units = [[4, 4]] * 3 + [[-3, -2]]
    both = units + [[-v for v in unit] for unit in units]
    assert number(report(strong + near).strength_alpha) == pytest.approx(
        alpha(both, DistanceMetric.ORDINAL)
    )
    bare = [vote(10, "a", Side.A, None)]
    assert isinstance(report(strong + bare).strength_alpha.value, Undefined)


def test_kappas_stand_beside_alpha_for_picks_and_rankings() -> None:
    found = report(simulated(40, 2, 0.7))
    for kappa in (found.cohen, found.fleiss):
        assert number(kappa) == pytest.approx(2 * number(found.raw) - 1)
        assert isinstance(kappa.interval, Interval)
    three = report(simulated(40, 3, 0.7))
    assert three.cohen.value == Undefined("Cohen’s kappa needs exactly two labelers, not 3")
    assert isinstance(three.fleiss.value, float)
    ranked = [Vote(c, who, Ranking((1, 2, 3))) for c in range(2) for who in "ab"]
    assert report(ranked).fleiss.value == report(ranked).cohen.value == 1.0


def test_voting_twice_or_at_another_length_is_refused() -> None:
    twice = [Vote(4, "a", Ranking((1, 2)))] * 2
    with pytest.raises(Invalid, match="labeler a votes twice on comparison 4"):
        report(twice)
    lengths = [Vote(4, "a", Ranking((1, 2))), Vote(4, "b", Ranking((1, 2, 3)))]
    with pytest.raises(Invalid, match="comparison 4 has rankings of 2 and of 3 completions"):
        report(lengths)


def test_lowest_agreement_comes_first() -> None:
    votes = [
        Vote("clear", "a", Ranking((1, 2))),
        Vote("clear", "b", Ranking((1, 2))),
        Vote("split", "a", Ranking((1, 2))),
        Vote("split", "b", Ranking((2, 1))),
        Vote("once", "a", Ranking((2, 1))),
    ]
    assert list(by_comparison(votes).items()) == [("split", 0.0), ("clear", 1.0)]


def test_rating_alpha_is_the_ordinal_alpha_of_completions() -> None:
    values = [(1, 2), (3, 3), (5, 4), (2, 2)]
    ratings = [
        Rating(c, c, who, value) for c, row in enumerate(values) for who, value in enumerate(row)
    ]
    found = rating_report(ratings)
    assert number(found.alpha) == pytest.approx(alpha(values, DistanceMetric.ORDINAL))
    assert number(found.raw) == 0.5
    # Observed 1/2; expected from 1, 2, 3, 4, 5 given 1, 3, 2, 1, 1 times: 16 / 64.
    assert number(found.fleiss) == pytest.approx((1 / 2 - 16 / 64) / (1 - 16 / 64))
    assert (found.units, found.pairable, found.labelers) == (4, 4, 2)


def test_rating_a_completion_twice_is_refused() -> None:
    with pytest.raises(Invalid, match="labeler a rates completion 1 twice"):
        rating_report([Rating(0, 1, "a", 5)] * 2)


def test_no_ratings_are_undefined() -> None:
    assert isinstance(rating_report([]).alpha.value, Undefined)


def test_one_point_apart_agrees_within_one_and_two_points_do_not() -> None:
    said = {"A": (1, 5), "B": (2, 5), "C": (4, 5)}
    ratings = [
        Rating(comparison, completion, who, value)
        for comparison in range(3)
        for who, values in said.items()
        for completion, value in enumerate(values)
    ]
    found = rating_report(ratings)
    assert number(found.raw) == pytest.approx((0 + 1) / 2)
    assert number(found.within_one) == pytest.approx((1 / 3 + 1) / 2)
    shares = [part for one, part in shares_with_others(ratings, reach=1) if one.labeler == "A"]
    assert shares == [0.5, 1.0] * 3
    assert [part for one, part in shares_with_others(ratings) if one.labeler == "A"] == [0, 1.0] * 3


def test_thumbs_have_the_nominal_alpha_of_two_observers() -> None:
    # Krippendorff (2011), section A: binary data, two observers, no missing data; alpha 0.095.
    first, second = "0100000010", "1110010000"
    thumbs = [
        Rating(at, 0, who, float(value))
        for who, values in (("A", first), ("B", second))
        for at, value in enumerate(values)
    ]
    found = rating_report(thumbs, metric=DistanceMetric.NOMINAL)
    (pair,) = found.pairs
    # A gives 1 twice, B four times, both once: observed 0.6, expected 0.2 * 0.4 + 0.8 * 0.6.
    assert number(pair.kappa) == pytest.approx((0.6 - 0.56) / (1 - 0.56))
    assert number(found.alpha) == pytest.approx(0.095, abs=5e-4)
    assert number(found.raw) == pytest.approx(0.6)
    assert found.metric is DistanceMetric.NOMINAL


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcd"), st.integers(1, 5))))
def test_shares_with_others_average_to_the_raw_agreement_of_one_unit(
    drawn: list[tuple[int, str, int]],
) -> None:
    unit = {who: value for _, who, value in drawn}
    ratings = [Rating(0, 0, who, value) for who, value in unit.items()]
    shares = [part for _, part in shares_with_others(ratings)]
    if len(unit) > 1:
        assert np.mean(shares) == pytest.approx(number(rating_report(ratings).raw), abs=TOLERANCE)
    else:
        assert shares == []

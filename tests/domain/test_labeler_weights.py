from collections.abc import Sequence

import numpy as np
import pytest

from app.domain import labeler_weights
from app.domain.krippendorff import Indices
from app.domain.labeler_weights import Choices
from app.domain.measures import Interval, Undefined
from app.errors import Invalid

UNITS, OVERLAP = 300, 3


def simulate(
    skills: Sequence[float],
    pulls: Sequence[float],
    *,
    seed: int = 0,
    units: int = UNITS,
    gold: int = 0,
) -> tuple[Choices, Indices]:
    """Simulate choices by the model itself; return them and which completion is better."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([-1, 1], units)
    entries = []
    for unit in range(units):
        for labeler in rng.choice(len(skills), min(OVERLAP, len(skills)), replace=False):
            shown = rng.choice([-1, 1])
            logit = skills[labeler] * truth[unit] + pulls[labeler] * shown
            sign = 1 if rng.random() < 1 / (1 + np.exp(-logit)) else -1
            entries.append((unit, labeler, sign, shown))
    unit, who, sign, place = np.array(entries, dtype=np.int64).T
    known = np.zeros(units, dtype=np.int64)
    known[:gold] = truth[:gold]
    names = tuple(f"L{number}" for number in range(len(skills)))
    return Choices(names, unit, who, sign, place, np.arange(units), known), truth


def share_right(choices: Choices, weights: labeler_weights.Array, truth: object) -> float:
    votes = np.bincount(choices.unit, choices.sign * weights[choices.labeler], len(choices.owner))
    majority = np.sign(votes)
    return float(np.mean((majority == truth) + 0.5 * (majority == 0)))


MIXED = ([1.6, 1.6, 1.2, 1.0, -1.0, 0.2, 0.0], [0.0, 0.0, 0.2, 0.0, 0.0, 2.5, 0.0])


def test_weights_lift_the_share_of_right_majorities() -> None:
    lifts = []
    for seed in range(10):
        choices, truth = simulate(*MIXED, seed=seed)
        proposed = labeler_weights.propose(choices, resamples=0)
        weights = np.array([one.weight for one in proposed])
        lifts.append(
            share_right(choices, weights, truth)
            - share_right(choices, np.ones(len(weights)), truth)
        )
    assert min(lifts) > 0
    assert np.mean(lifts) > 0.07


def test_an_adversary_weighs_nothing_and_the_place_biased_are_told_from_the_unskilled() -> None:
    choices, _ = simulate(*MIXED)
    by_name = {one.labeler: one for one in labeler_weights.propose(choices)}
    assert by_name["L4"].weight == 0.0
    biased, guessing = by_name["L5"].slot_pull, by_name["L6"].slot_pull
    assert isinstance(biased.interval, Interval)
    assert isinstance(guessing.interval, Interval)
    assert biased.interval.low > max(1.0, guessing.interval.high)


def test_the_average_choice_weighs_one() -> None:
    choices, _ = simulate([1.5, 1.0, 0.5], [0.0] * 3)
    proposed = labeler_weights.propose(choices, resamples=0)
    total = sum(one.weight * one.choices for one in proposed)
    assert total / len(choices.unit) == pytest.approx(1.0, abs=0.01)


def test_intervals_cover_the_accuracy_that_was_simulated() -> None:
    covered = trials = 0
    skills = [1.5, 1.2, 1.0, 0.8]
    for seed in range(12):
        choices, _ = simulate(skills, [0.0] * 4, seed=seed, units=200, gold=40)
        for one, skill in zip(labeler_weights.propose(choices, seed=seed), skills, strict=True):
            assert isinstance(one.accuracy.interval, Interval)
            accuracy = 1 / (1 + np.exp(-skill))
            covered += one.accuracy.interval.low <= accuracy <= one.accuracy.interval.high
            trials += 1
    assert covered / trials > 0.85


def test_gold_alone_tells_the_skill_of_a_single_labeler() -> None:
    choices, _ = simulate([2.0], [0.0], gold=UNITS)
    (alone,) = labeler_weights.propose(choices)
    assert alone.accuracy.value == pytest.approx(0.88, abs=0.05)
    assert alone.weight == 1.0


def test_a_labeler_whom_nobody_can_be_compared_with_keeps_the_weight_one() -> None:
    choices, _ = simulate([2.0], [0.0])
    (alone,) = labeler_weights.propose(choices)
    assert (alone.shared, alone.weight) == (0, 1.0)
    assert isinstance(alone.accuracy.value, Undefined)
    assert "20 are needed" in alone.reason


def test_renaming_completions_changes_no_weight() -> None:
    choices, _ = simulate(*MIXED, units=120)
    turned = Choices(
        choices.labelers,
        choices.unit,
        choices.labeler,
        -choices.sign,
        -choices.shown,
        choices.owner,
        -choices.known,
    )
    before = labeler_weights.propose(choices, resamples=0)
    after = labeler_weights.propose(turned, resamples=0)
    assert [one.weight for one in before] == [one.weight for one in after]


def test_changes_count_majorities_that_turn() -> None:
    # Unit 0: two against one; unit 1: one each; unit 2: two to nothing.
    unit, who, sign = np.array(
        [(0, 0, 1), (0, 1, 1), (0, 2, -1), (1, 0, 1), (1, 2, -1), (2, 0, 1), (2, 1, 1)],
        dtype=np.int64,
    ).T
    nothing = np.zeros(7, dtype=np.int64)
    choices = Choices(("a", "b", "c"), unit, who, sign, nothing, np.arange(3), nothing[:3])
    found = labeler_weights.changes(choices, {"a": 0.4, "b": 0.4})
    assert found == labeler_weights.Changes(units=3, flipped=1, decided_ties=1, undecided=0)
    assert labeler_weights.changes(choices, {"a": 0.0, "b": 0.0}).undecided == 1


def test_a_tie_is_refused() -> None:
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(Invalid, match="ties are left out"):
        Choices(("a",), one, one, one, one, one, one)


def test_a_pull_is_told_as_the_share_of_first_places_among_equals() -> None:
    proposed = labeler_weights.propose(simulate(*MIXED)[0])
    for one in proposed:
        told, pull = one.first_if_equal, one.slot_pull
        assert isinstance(told.value, float)
        assert np.log(told.value / (1 - told.value)) == pytest.approx(pull.value)
        assert isinstance(told.interval, Interval)
        assert told.interval.low <= told.value <= told.interval.high
    few = labeler_weights.propose(simulate([1.0, 1.0], [0.0, 0.0], units=3)[0], resamples=0)
    assert isinstance(few[0].first_if_equal.value, Undefined)


def test_choices_on_gold_are_counted() -> None:
    choices, _ = simulate([1.0, 1.0, 1.0], [0.0] * 3, units=60, gold=7)
    proposed = labeler_weights.propose(choices, resamples=0)
    assert [(one.choices, one.shared, one.gold) for one in proposed] == [(60, 60, 7)] * 3


def test_a_sample_holds_whole_owners() -> None:
    choices, _ = simulate([2.0, 1.0, 0.3], [0.0] * 3, units=1000)
    assert labeler_weights.sample(choices, len(choices.unit)) is choices
    some = labeler_weights.sample(choices, 900)
    assert 890 < len(some.unit) <= 900
    assert set(np.bincount(some.unit)) == {3}
    assert some.labelers == choices.labelers


def test_intervals_from_a_part_are_as_wide_as_those_from_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choices, _ = simulate([2.0, 1.0, 0.3, 1.5, 1.0, 2.5, 0.6, 1.8], [0.0] * 8, units=4000)
    whole = labeler_weights.propose(choices)
    monkeypatch.setattr(labeler_weights, "MOST_RESAMPLED", 4000)
    part = labeler_weights.propose(choices)
    assert [one.weight for one in part] == [one.weight for one in whole]
    widths = [[width(one.accuracy.interval) for one in each] for each in (whole, part)]
    assert np.mean(widths[1]) == pytest.approx(np.mean(widths[0]), rel=0.25)


def width(interval: Interval | Undefined) -> float:
    assert isinstance(interval, Interval)
    return interval.high - interval.low

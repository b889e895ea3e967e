"""The search for a learning rate, with trainers whose curves are known."""

import math
from dataclasses import dataclass, replace

import pytest

from app.domain import rate_search
from app.domain.rate_search import (
    HELDOUT_LEAST,
    SFT,
    STEPS_LEAST,
    Choice,
    Design,
    Ground,
    Look,
    MeasuredOn,
)
from app.domain.reward_plan import EPOCHS_MOST, RewardPlan
from app.domain.step_counts import look_interval, looks_within

GROUND = Ground(rows=400, seen=1600, heldout=50, batch_size=16, share=0.2)
USUAL = 1e-3
NOISE = (-0.1, 0.1, 0.0, -0.05, 0.05)


@dataclass(slots=True)
class Known:
    """A trainer whose loss falls fastest at its best rate, and which diverges far above it."""

    rate: float
    best: float
    gain: float
    steps: int = 0

    def advance(self, steps: int) -> Look:
        self.steps += steps
        off = abs(math.log10(self.rate / self.best))
        loss = math.log(2) - self.gain * self.steps * max(0.0, 1.0 - off)
        if self.rate > 20 * self.best:
            loss = math.nan
        return Look(tuple(loss + noise for noise in NOISE), 0.5 + self.gain * self.steps)


@dataclass(slots=True)
class Noisy(Known):
    """A trainer whose held-out comparisons differ by rate only by chance."""

    def advance(self, steps: int) -> Look:
        shift = 0.002 if self.rate == USUAL else 0.0
        turn = 1.0 if self.rate == USUAL else -1.0
        return Look(tuple(0.69 + shift + turn * noise for noise in NOISE), 0.5)


def design_of(ground: Ground = GROUND, usual: float = USUAL) -> Design:
    design = rate_search.design(ground, usual)
    assert design is not None
    return design


@pytest.mark.parametrize("best", [1e-4, 3e-4, 1e-3, 3e-3])
def test_the_best_rate_is_found_and_only_the_better_half_goes_on(best: float) -> None:
    design = design_of()
    first, second = design.stages
    rate, trials = rate_search.run(design, lambda rate: Known(rate, best, 0.002))
    assert rate == best
    assert [trial.rate for trial in trials] == [1e-4, 3e-4, 1e-3, 3e-3]
    assert sorted(trial.steps for trial in trials) == [first] * 2 + [first + second] * 2
    assert next(trial for trial in trials if trial.rate == best).steps == first + second


def test_a_rate_that_diverges_is_out() -> None:
    rate, trials = rate_search.run(design_of(), lambda rate: Known(rate, 1e-4, 0.002))
    assert rate == 1e-4
    assert trials[-1].loss is None
    rate, trials = rate_search.run(design_of(), lambda rate: Known(rate, 1e-5, 0.002))
    assert rate == 1e-4
    assert trials[2].loss is None


@dataclass(slots=True)
class Leaping(Known):
    """A trainer that the usual rate does not suit, and that two others suit equally."""

    def advance(self, steps: int) -> Look:
        loss = {1e-4: 0.66, USUAL: 0.69, 3e-3: 0.6599}.get(self.rate, 0.7)
        turn = 1.0 if self.rate == 1e-4 else 0.9
        return Look(tuple(loss + turn * noise for noise in NOISE), 0.5)


def test_without_the_usual_rate_the_lowest_stays_unless_another_is_better_beyond_chance() -> None:
    assert rate_search.run(design_of(), lambda rate: Leaping(rate, USUAL, 0.0))[0] == 1e-4


def test_the_usual_rate_stays_unless_another_is_better_beyond_chance() -> None:
    assert rate_search.run(design_of(), lambda rate: Noisy(rate, USUAL, 0.0))[0] == USUAL


@pytest.mark.parametrize("comparisons", [80, 160, 400, 1600, 10_000])
@pytest.mark.parametrize("heldout", [0, 10, 20, 50, 500])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5])
def test_a_search_stays_within_its_share(comparisons: int, heldout: int, share: float) -> None:
    ground = Ground(comparisons, 2 * comparisons, heldout, 16, share)
    design = rate_search.design(ground, USUAL)
    if design is None:
        assert share < 0.5 or comparisons < 400
        return
    assert design.cost <= share * ground.seen
    assert design.stages[0] >= STEPS_LEAST
    assert design.heldout >= HELDOUT_LEAST
    assert USUAL in design.rates
    wanted = MeasuredOn.HELDOUT if heldout >= HELDOUT_LEAST else MeasuredOn.FOLDS
    assert design.measured is wanted


def test_little_time_allows_two_rates_and_less_none() -> None:
    assert len(design_of().rates) == 4
    assert len(design_of(replace(GROUND, seen=500)).rates) == 2
    assert rate_search.design(replace(GROUND, seen=100), USUAL) is None
    assert rate_search.design(replace(GROUND, share=0.0), USUAL) is None


@pytest.mark.parametrize("rows", [100, 500, 2000, 20_000])
@pytest.mark.parametrize("heldout", [5, 16, 200])
def test_a_search_for_sft_stays_within_its_share_and_trains_anew(rows: int, heldout: int) -> None:
    ground = Ground(rows, 3 * rows, heldout, batch_size=64, share=0.2)
    design = rate_search.design(ground, USUAL, SFT)
    if design is None:
        assert rows == 100
        return
    assert design.starts_anew
    assert design.cost <= 0.2 * ground.seen
    assert len(design.rates) == (6 if rows >= 2000 else len(design.rates))
    rate, trials = rate_search.run(design, lambda rate: Known(rate, design.rates[0], 0.002))
    assert rate == design.rates[0]
    # Steps are those of the last stage, not of all together.
    assert {trial.steps for trial in trials} == set(design.stages)


@pytest.mark.parametrize(("width", "usual"), [(192, 3.1e-4), (4096, 2.9e-5)])
def test_all_weights_take_a_tenth_of_an_adapters_rate(width: int, usual: float) -> None:
    assert rate_search.usual_full_rate(width) == usual


@pytest.mark.parametrize(
    ("width", "alpha", "usual"),
    [(192, 32, 3.1e-3), (384, 32, 1.8e-3), (2048, 32, 4.9e-4), (4096, 64, 1.4e-4), (8, 8, 3.3e-3)],
)
def test_the_usual_rate_follows_width_and_adapter(width: int, alpha: int, usual: float) -> None:
    assert rate_search.usual_rate(width, alpha) == usual


@pytest.mark.parametrize(
    ("comparisons", "epochs"), [(1, EPOCHS_MOST), (299, 6), (400, 4), (1600, 1), (100_000, 1)]
)
def test_few_comparisons_are_seen_more_often(comparisons: int, epochs: int) -> None:
    assert RewardPlan().epochs_for(comparisons) == epochs
    assert RewardPlan(epochs=2).epochs_for(comparisons) == 2


@pytest.mark.parametrize(("heldout", "interval"), [(0, 10), (50, 10), (120, 17), (5000, 100)])
def test_held_out_looks_take_at_most_their_share(heldout: int, interval: int) -> None:
    plan = RewardPlan(epochs=4)  # 100 steps of 16
    assert plan.evaluation_interval(400, heldout) == interval
    looks = -(-100 // interval)
    assert looks == 1 or looks * heldout / 3 <= 0.15 * 1600


@pytest.mark.parametrize("steps", [1, 7, 19, 100])
@pytest.mark.parametrize("most", [None, 1, 2, 10])
def test_steps_that_the_wanted_looks_do_not_divide_give_no_more_of_them(
    steps: int, most: int | None
) -> None:
    every = look_interval(steps, steps // 10, most)
    assert -(-steps // every) <= (most or steps)
    assert looks_within(1600, 0) is None


def test_a_choice_is_recorded_and_says_why() -> None:
    design = design_of()
    rate, trials = rate_search.run(design, lambda rate: Known(rate, 3e-3, 0.002))
    choice = Choice(rate, USUAL, 4, design.measured, design.heldout, 4, 0.2, 0.19, trials)
    assert Choice.from_json(choice.to_json()) == choice
    assert choice.sentence == (
        "Learning rate 0.003 and up to 4 epochs, chosen from the rates 0.0001, 0.0003, 0.001, "
        "0.003 by their loss on 50 held-out comparisons; the search took 19 % of the training time."
    )
    folds = replace(choice, measured=MeasuredOn.FOLDS)
    assert "for lack of held-out ones" in folds.sentence
    shown = replace(choice, epochs=None, rows=SFT.rows)
    assert shown.sentence.startswith("Learning rate 0.003, chosen from the rates 0.0001")
    assert "their loss on 50 held-out demonstrations" in shown.sentence
    none = replace(choice, measured=MeasuredOn.NOTHING)
    assert "too few comparisons for a search within 20 %" in none.sentence
    assert "leaves no time" in replace(none, share=0.0).sentence

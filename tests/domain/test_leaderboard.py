"""The leaderboard against independent libraries, closed forms and known truth."""

import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import evalica
import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain import leaderboard, source_strengths, strength_draws
from app.domain.leaderboard import ALL_TIES, TOO_FEW, Leaderboard
from app.domain.measures import Interval, Undefined
from app.domain.strength_draws import SourceVotes
from tests.domain import source_coverage
from tests.domain.simulated_sources import SPREAD, SourcePanel, simulate

NEAR = 1e-6  # how closely two libraries reach the same maximum
FIVE = SourcePanel((0.9, 0.4, 0.1, -0.5, -0.9), 400, taste=0.0)
NAMES = tuple("ABCDE")


def strengths(board: Leaderboard) -> list[float]:
    (group,) = board.groups
    found = {source.name: source.strength.value for source in group.sources}
    return [float(str(found[name])) for name in sorted(found)]


def votes(rows: Sequence[tuple[int, int, int, int]], times: int = 1) -> SourceVotes:
    """Make votes from (first, second, outcome, prompt), each as often on prompts of its own."""
    table = np.array([(a, b, o, p + 100 * n) for n in range(times) for a, b, o, p in rows])
    first, second, outcome, prompt = table.T
    flat = np.full(len(table), 500)
    return SourceVotes(first, second, outcome, np.ones(len(table)), flat, flat, prompt)


@pytest.mark.parametrize(("tie", "seed"), [(-0.5, 0), (0.7, 1), (-np.inf, 2)])
def test_strengths_are_those_of_independent_libraries_with_ties_and_missing_pairs(
    tie: float, seed: int
) -> None:
    drawn = simulate(replace(FIVE, tie=tie), seed)
    seen = drawn.where((drawn.first + drawn.second) % 5 != 1)  # two of ten pairs never meet
    winners = [
        (evalica.Winner.X, evalica.Winner.Draw, evalica.Winner.Y)[outcome]
        for outcome in seen.outcome.tolist()
    ]
    names = [f"s{at}" for at in range(5)]
    firsts, seconds = ([names[at] for at in side.tolist()] for side in (seen.first, seen.second))
    solve = evalica.bradley_terry if tie == -np.inf else evalica.newman  # Newman's ties: Davidson's
    scores = np.log(
        solve(firsts, seconds, winners, tolerance=1e-12, limit=100_000).scores[names].to_numpy()
    )
    expected = scores - scores.mean()
    assert strengths(leaderboard.of_votes(seen, NAMES)) == pytest.approx(expected, abs=NEAR)


def test_the_effect_of_length_maximizes_a_likelihood_written_vote_by_vote() -> None:
    drawn = simulate(replace(FIVE, length=0.8), 3)
    board = leaderboard.of_votes(drawn, NAMES, length_controlled=True)
    ordered = drawn.in_order()
    term = source_strengths.length_terms(ordered.length, board.length_spread)
    fit = strength_draws.draw(ordered, 5, term, has_length=True).fit
    found = np.concatenate([fit.strength[0], fit.tie, fit.length])

    def loss(p: NDArray[np.float64]) -> float:
        d = p[ordered.first] - p[ordered.second] + p[6] * term
        chances = np.stack([d / 2, np.full(len(d), p[5]), -d / 2])
        log = chances - np.log(np.exp(chances).sum(axis=0))
        return -float(log[ordered.outcome, np.arange(len(d))].sum())

    for step in 1e-3 * np.eye(
        7
    ):  # the loss is convex: where it rises in all directions is its least
        ahead, here, behind = (loss(found + move) for move in (step, 0 * step, -step))
        curve = ahead - 2 * here + behind
        assert curve > 0
        assert (behind - ahead) / (2 * curve) == pytest.approx(0, abs=1e-3), "of a step"
    assert strengths(board) == pytest.approx(fit.strength[0].tolist())
    effect = board.groups[0].length_effect
    assert effect.value == pytest.approx(float(fit.length[0]))
    assert isinstance(effect.interval, Interval)
    assert effect.interval.low > 0.3
    # Without the term, the sources that wrote more are taken for better ones.
    longer = replace(drawn, first_length=drawn.first_length + SPREAD * (drawn.first == 4))
    assert strengths(leaderboard.of_votes(longer, NAMES)) == strengths(
        leaderboard.of_votes(drawn, NAMES)
    )


def test_two_sources_have_the_win_rate_that_was_counted() -> None:
    board = leaderboard.of_votes(
        votes(
            [(0, 1, 0, at) for at in range(12)]
            + [(1, 0, 1, 20 + at) for at in range(4)]
            + [(1, 0, 0, 30 + at) for at in range(4)]
        ),
        ("A", "B"),
    )
    best, other = board.sources
    assert best.share.value == pytest.approx((12 + 4 / 2) / 20)
    assert other.share.value == pytest.approx((4 + 4 / 2) / 20)
    assert (best.wins, best.ties, best.losses, best.prompts) == (12, 4, 4, 20)
    assert board.groups[0].wins == ((0, 12), (4, 0))
    assert isinstance(best.share.interval, Interval)
    assert 0.45 < best.share.interval.low < 0.52
    assert 0.84 < best.share.interval.high < 0.92


def test_naming_and_the_order_of_a_vote_change_nothing() -> None:
    drawn = simulate(FIVE, 4)
    turned = SourceVotes(
        4 - drawn.second, 4 - drawn.first, 2 - drawn.outcome, drawn.weight,
        drawn.second_length, drawn.first_length, drawn.prompt,
    )  # fmt: skip
    there = leaderboard.of_votes(drawn, NAMES, length_controlled=True)
    back = leaderboard.of_votes(turned, NAMES[::-1], length_controlled=True)
    assert strengths(there) == pytest.approx(strengths(back), abs=1e-9)
    for one, other in zip(there.sources, back.sources, strict=True):
        assert (one.name, one.best_rank, one.worst_rank) == (
            other.name, other.best_rank, other.worst_rank,
        )  # fmt: skip
    doubled = replace(drawn, weight=drawn.weight * 2)
    assert strengths(leaderboard.of_votes(doubled, NAMES)) == pytest.approx(
        strengths(leaderboard.of_votes(drawn, NAMES)), abs=1e-9
    )


def test_sources_that_nothing_connects_are_ranked_apart_and_said() -> None:
    rows = [(0, 1, at % 3, at) for at in range(30)] + [(2, 3, at % 2, at) for at in range(20)]
    board = leaderboard.of_votes(votes(rows), NAMES)
    assert [sorted(source.name for source in group.sources) for group in board.groups] == [
        ["A", "B"],
        ["C", "D"],
    ]
    assert board.alone == ("E",)
    assert all(source.worst_rank <= 2 for source in board.sources)
    assert leaderboard.of_votes(votes(rows).where(np.zeros(50, dtype=bool)), NAMES).groups == ()


def test_a_source_that_always_wins_has_a_finite_figure_and_an_interval_without_upper_limit() -> (
    None
):
    rows = [(0, 1, 0, at) for at in range(15)] + [(0, 2, 0, at) for at in range(15, 30)]
    rows += [(1, 2, at % 3, at) for at in range(30, 60)]
    (group,) = leaderboard.of_votes(votes(rows), ("A", "B", "C")).groups
    best = group.sources[0]
    assert (group.is_limited, group.winners, group.losers) == (False, (("A",),), (("B", "C"),))
    assert isinstance(best.share.value, float)
    assert isinstance(best.share.interval, Interval)
    assert 0.9 < best.share.value < 1.0
    assert best.share.interval.high == 1.0
    assert 0.75 < best.share.interval.low < 0.97  # Wilson: 30 of 30 prompts give 0.89
    assert (best.best_rank, best.worst_rank) == (1, 1)
    # The same votes on a tenth of the prompts say less.
    (fewer,) = leaderboard.of_votes(
        votes([(a, b, o, p // 5) for a, b, o, p in rows]), ("A", "B", "C")
    ).groups
    assert isinstance(fewer.sources[0].strength.interval, Undefined)
    # One tie is enough for a limit.
    (limited,) = leaderboard.of_votes(votes([*rows, (0, 1, 1, 60)]), ("A", "B", "C")).groups
    assert limited.is_limited
    assert limited.winners == ()


def test_what_is_not_enough_is_said() -> None:
    few = leaderboard.of_votes(votes([(0, 1, at % 2, at) for at in range(9)]), ("A", "B"))
    assert all(source.share.interval == Undefined(TOO_FEW) for source in few.sources)
    assert [(source.best_rank, source.worst_rank) for source in few.sources] == [(1, 2)] * 2
    assert not few.sources[0].is_enough
    ties = leaderboard.of_votes(votes([(0, 1, 1, at) for at in range(30)]), ("A", "B"))
    assert ties.groups[0].reason == ALL_TIES
    assert ties.sources[0].share.value == Undefined(ALL_TIES)
    assert ties.groups[0].ties == ((0, 30), (30, 0))


def test_a_length_that_is_the_sources_own_is_not_taken_out() -> None:
    rows = [(0, 1, at % 3, at) for at in range(60)]
    fixed = replace(votes(rows), first_length=np.full(60, 900.0))
    board = leaderboard.of_votes(fixed, ("A", "B"), length_controlled=True)
    assert board.groups[0].length_effect.value == Undefined(leaderboard.NO_LENGTH)
    assert strengths(board) == strengths(leaderboard.of_votes(fixed, ("A", "B")))


def test_large_data_is_quick_and_one_step_agrees_with_fitting_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = SourcePanel(tuple(np.linspace(-1, 1, 20)), 25_000, length=0.4)
    drawn = simulate(many, 5)
    assert len(drawn) == 100_000
    names = tuple(f"model {at}" for at in range(20))
    started_s = time.process_time()
    board = leaderboard.of_votes(drawn, names, length_controlled=True)
    assert time.process_time() - started_s < 8, "under a second where nothing else runs"
    few = replace(many, strengths=(0.8, 0.4, 0.1, -0.2, -0.4, -0.7), prompts=1_500)
    some = simulate(few, 6)
    monkeypatch.setattr(strength_draws, "_REFIT", 0)
    quick = leaderboard.of_votes(some, names[:6], length_controlled=True)
    monkeypatch.setattr(strength_draws, "_REFIT", 10**12)
    slow = leaderboard.of_votes(some, names[:6], length_controlled=True)
    assert _widths(quick) == pytest.approx(_widths(slow), rel=0.05)
    assert _widths(quick) != _widths(slow)
    assert max(_widths(board)) < min(_widths(slow))


def _widths(board: Leaderboard) -> list[float]:
    intervals = [source.strength.interval for source in board.sources]
    return [each.high - each.low for each in intervals if isinstance(each, Interval)]


@pytest.mark.slow
@pytest.mark.parametrize("panel", source_coverage.PANELS)
def test_intervals_cover_as_often_as_they_say(panel: str) -> None:
    for figure, (hit, total) in source_coverage.covered(panel, 200).items():
        highest = 1.0 if figure == "rank" else source_coverage.HIGHEST
        assert source_coverage.LOWEST <= hit / total <= highest, figure


@pytest.mark.parametrize("length_controlled", [False, True])
def test_a_further_vote_costs_little_memory(length_controlled: bool) -> None:
    def peak(n: int) -> int:
        rng = np.random.default_rng(0)
        first = rng.integers(0, 5, n, dtype=np.int8)
        length = rng.integers(50, 500, n, dtype=np.int16)
        votes = SourceVotes(
            *(first, (first + rng.integers(1, 5, n, dtype=np.int8)) % 5),
            *(rng.integers(0, 3, n, dtype=np.int8), np.ones(n, dtype=np.float32)),
            *(length, length[::-1].copy(), rng.integers(0, n // 10, n, dtype=np.int32)),
        )
        tracemalloc.start()
        leaderboard.of_votes(votes, NAMES, length_controlled=length_controlled)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert (peak(300_000) - peak(100_000)) / 200_000 < 80

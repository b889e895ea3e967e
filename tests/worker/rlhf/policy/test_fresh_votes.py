"""The alarm of fresh votes: rare where people's preference is constant, soon where it falls."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import pytest

from tests.worker.rlhf.policy.test_stopping import CALM
from worker.rlhf.policy import fresh_votes
from worker.rlhf.policy.fresh_votes import FreshPreference, PooledShare
from worker.rlhf.policy.stopping import FreshVote, Observation

VOTES = 16  # of a look
TIES = 0.1
RULE = FreshPreference()


def look(number: int, votes: Sequence[FreshVote] = ()) -> Observation:
    """Return an evaluation; the reward model sees the policy improve all the time."""
    return replace(CALM, step=5 * number, heldout_reward=0.1 * number, fresh=votes)


def votes(number: int, share: float, chances: random.Random) -> list[FreshVote]:
    """Return the votes of a look on its own prompts, of which 64 are asked about in turn."""
    keys = [f"prompt-{(VOTES * number + n) % 64}" for n in range(VOTES)]
    return [(key, 0.5 if chances.random() < TIES else chances.random() < share) for key in keys]


def alarm(shares: Sequence[float], seed: int) -> int | None:
    """Return after how many looks a run of these true shares is stopped; None: never."""
    chances = random.Random(seed)
    history = [look(0)]
    for number, share in enumerate(shares, start=1):
        history.append(look(number, votes(number, share, chances)))
        if RULE.reason(history) is not None:
            return number
    return None


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute each pooled share of a simulation once."""
    of = lru_cache(maxsize=None)(fresh_votes.pooled)
    monkeypatch.setattr(fresh_votes, "pooled", lambda each, z: of(tuple(each), z))


@pytest.mark.usefixtures("kept")
def test_a_constant_share_hardly_ever_stops_a_run() -> None:
    runs = 200
    alarms = sum(alarm([0.6] * 20, seed) is not None for seed in range(runs))
    assert alarms / runs <= 0.05


@pytest.mark.usefixtures("kept")
def test_a_fall_of_the_share_stops_a_run_within_a_few_looks() -> None:
    good = 8
    waited = [alarm([0.65] * good + [0.35] * 12, seed) or 99 for seed in range(100)]
    after = sorted(number - good for number in waited)
    assert after[5] >= 1, "hardly ever before the fall"
    assert after[50] <= 5
    assert after[90] <= 10


def history(*shares: tuple[float, int]) -> list[Observation]:
    """Return looks with a share of ones among a number of votes, on prompts of their own."""
    looks = [look(0)]
    for number, (share, count) in enumerate(shares, start=1):
        ones = round(share * count)
        own = [(f"prompt-{number}-{n}", float(n < ones)) for n in range(count)]
        looks.append(look(number, own))
    return looks


def test_below_one_half_is_an_alarm_only_while_the_reward_model_says_otherwise() -> None:
    looks = history((0.2, 64))
    assert "below one half, while" in str(RULE.reason(looks))
    assert RULE.reason([*looks[:-1], replace(looks[-1], heldout_reward=-0.1)]) is None


def test_a_share_above_one_half_that_fell_is_named_with_both_intervals() -> None:
    assert RULE.reason(history((0.95, 64), (0.55, 64))) == (
        "fresh votes: people prefer the policy in 55% of 64 votes [39%, 69%], "
        "earlier 95% of 64 votes [84%, 99%]"
    )
    assert RULE.reason(history((0.65, 64), (0.55, 64))) is None
    assert RULE.reason(history((0.55, 64), (0.95, 64))) is None


def test_too_few_votes_none_or_no_evaluation_never_stop_a_run() -> None:
    assert RULE.reason(history((0.95, 64), (0.0, 0))) is None
    assert RULE.reason(history((0.0, 63))) is None
    assert RULE.reason(history((0.0, 0), (0.0, 0))) is None
    between = replace(look(3), heldout_reward=None)
    assert RULE.reason([*history((0.2, 64)), between]) is None
    assert fresh_votes.latest(history((0.0, 0))) is None


def test_votes_that_come_late_count_where_they_were_asked() -> None:
    late = history((0.95, 40), (0.1, 64), (0.0, 0))
    assert "earlier" not in str(RULE.reason(late)), "40 votes are too few to compare with"
    assert fresh_votes.latest(late) == fresh_votes.latest(late[:-1])


def test_votes_on_one_prompt_count_less_than_on_many() -> None:
    apart = [(f"prompt-{n}", float(n % 2)) for n in range(40)]
    together = [(f"prompt-{n % 8}", vote) for n, (_, vote) in enumerate(apart)]
    assert fresh_votes.pooled(together).share == fresh_votes.pooled(apart).share == 0.5
    assert _width(fresh_votes.pooled(together)) > 1.5 * _width(fresh_votes.pooled(apart))
    unanimous = fresh_votes.pooled([("prompt-1", 1.0)] * 40, z=2.0)
    assert unanimous.high == 1.0
    assert unanimous.low == pytest.approx(1 / (1 + 4)), "one prompt counts as one vote"


def _width(share: PooledShare) -> float:
    return share.high - share.low

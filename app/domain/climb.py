"""The climb: what the policy of each round reached, over the rounds of a project.

A round counts once it waits for its decision or is decided, as far as it has trained a policy. Its
evaluation compares that policy with the previous one, the last promoted policy or else the SFT
model. Votes therefore measure it against the SFT model only where that is the previous one; the
round's reward model can score both. A figure that was not measured is undefined, for a reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain import jackknife
from app.domain.gates.judging import HALF_WIDTH_MOST
from app.domain.measures import Interval, Measure, Undefined
from app.domain.recommendations import EVEN
from app.domain.states import RoundState
from app.domain.win_rates import EvaluationResults

NO_EVALUATION = "the round has no complete evaluation"
NO_SCORES = "the evaluation has no scores of these responses"
NO_REWARD = "the round trained no reward model"
NOT_RECORDED = "it was not recorded"
ONE_NUMBER = "only the mean is recorded"

COUNTED = frozenset({RoundState.DECIDING, RoundState.PROMOTED, RoundState.HELD})
_KL_METRICS = ("heldout/kl", "kl/k1", "kl")  # on held-out prompts where there are any


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """The scores that a reward model gave two completions of one prompt."""

    prompt_id: int
    new: float
    other: float


@dataclass(frozen=True, slots=True)
class ClimbRound:
    """A round with its figures; win rates are of its policy, whose KL is to the SFT model.

    `initial` names the SFT model, or the base model of a round without one, and `last` the policy
    before. `votes_by` names the AI judge whose verdicts are in the place of people's; `scores_by`
    the reward model, or the rewards, behind the scores. Lengths are means in characters.
    """

    number: int
    state: RoundState
    policy: str
    last: str
    initial: str
    votes_by: str
    scores_by: str
    votes_sft: Measure
    scores_sft: Measure
    votes_last: Measure
    scores_last: Measure
    agreement: Measure
    accuracy: Measure
    human_level: Measure
    ceiling_low: Measure
    ceiling_high: Measure
    kl_nats: Measure
    length: Measure
    length_last: Measure
    length_sft: Measure


@dataclass(frozen=True, slots=True)
class LeftOutRound:
    """A round that is not on the climb, and why."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Climb:
    """The rounds that count, the oldest first, and those that are left out."""

    rounds: tuple[ClimbRound, ...]
    left_out: tuple[LeftOutRound, ...]


def why_left_out(state: RoundState, *, has_policy: bool) -> str:
    """Return why a round is not on the climb; empty if it is."""
    if state is RoundState.CANCELLED:
        return "it was cancelled"
    if state is RoundState.FAILED:
        return "it failed"
    if state not in COUNTED:
        return "it is not finished"
    return "" if has_policy else "it has no policy"


def by_votes(results: EvaluationResults | None) -> Measure:
    """Return a policy's win rate over the previous one by the votes of a complete evaluation."""
    if results is None:
        return Measure.missing(NO_EVALUATION)
    if results.share is None:
        return Measure.missing(results.reason)
    if results.low is None or results.high is None:
        return Measure(results.share, Undefined(results.no_interval), results.prompts)
    return Measure(results.share, Interval(results.low, results.high), results.prompts)


def votes_against_initial(votes: Measure, last: str, initial: str, *, is_same: bool) -> Measure:
    """Return the win rate over the initial model, which votes measure only as the previous one."""
    if is_same:
        return votes
    return Measure.missing(f"blind votes compare the policy with {last}, not with {initial}")


def by_scores(pairs: Sequence[ScoredPair]) -> Measure:
    """Measure how often the new policy scores higher; equal scores count half.

    Every prompt counts the same, with an interval by prompt.
    """
    wins = [0.5 if pair.new == pair.other else float(pair.new > pair.other) for pair in pairs]
    prompts = jackknife.numbered(pair.prompt_id for pair in pairs)
    return jackknife.share(wins, prompts, nothing=NO_SCORES)


def recorded(figure: Any, missing: str = NOT_RECORDED) -> Measure:
    """Return a figure that a worker recorded: a number, or a mapping of value, low, high, n."""
    if isinstance(figure, int | float):
        return Measure(float(figure), Undefined(ONE_NUMBER), 0)
    if not isinstance(figure, Mapping):
        return Measure.missing(missing)
    value, low, high = (figure.get(name) for name in ("value", "low", "high"))
    reason, n = str(figure.get("reason") or missing), int(figure.get("n") or 0)
    if value is None:
        return Measure.missing(reason, n)
    if low is None or high is None:
        return Measure(float(value), Undefined(reason), n)
    return Measure(float(value), Interval(float(low), float(high)), n)


def kl_nats(metrics: Mapping[str, Any]) -> float | None:
    """Return a policy's KL to the SFT model, in nats per response; None if none is recorded."""
    values = (metrics.get(name) for name in _KL_METRICS)
    return next((float(value) for value in values if value is not None), None)


def is_even_enough(win_rate: Measure) -> bool:
    """Whether a win rate decides: its interval is without 50 %, or narrow around it."""
    if isinstance(win_rate.interval, Undefined):
        return False
    low, high = win_rate.interval.low, win_rate.interval.high
    return not low <= EVEN <= high or is_precise(win_rate)


def is_precise(share: Measure) -> bool:
    """Whether a share's interval is narrow enough to compare it with another round's."""
    if isinstance(share.interval, Undefined):
        return False
    return (share.interval.high - share.interval.low) / 2 <= HALF_WIDTH_MOST

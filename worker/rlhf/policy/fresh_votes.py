"""Fresh votes: whether people prefer the current policy to the reference while it trains.

At an evaluation the watch hands over pairs of responses to held-out prompts, and reads the votes
that have come in so far. Where these come from is left to the caller. The votes on the pairs of a
step are kept with the observation of that step, so that the rule reads nothing but the history.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.policy.stopping import FreshVote, History

POOLED = 64
"""Votes below which a run is never stopped."""
Z = 2.5
"""Normal quantile of the intervals; wider than 95 % needs, because a run is checked many times."""


@dataclass(frozen=True, slots=True)
class FreshPair:
    """A held-out prompt with a response of the current policy and one of the reference."""

    prompt: PromptItem
    policy: SampledCompletion
    reference: SampledCompletion


class FreshVotes(Protocol):
    """Puts pairs before people, and returns their votes."""

    @property
    def prompts(self) -> int:
        """How many held-out prompts to ask about at each evaluation."""

    def ask(self, step: int, pairs: Sequence[FreshPair]) -> int:
        """Put the pairs of a step before people, once; return how many differ and are asked."""

    def read(self) -> Mapping[int, Sequence[FreshVote]]:
        """Return the votes so far, by the step of the pair."""


@dataclass(frozen=True, slots=True)
class PooledShare:
    """The policy's share of some votes, with a Wilson interval clustered by prompt."""

    share: float
    low: float
    high: float
    votes: int


@dataclass(frozen=True, slots=True)
class FreshPreference:
    """People like the policy's responses clearly less than before, or less than the reference's.

    Votes are pooled over the last evaluations, as many as it takes for `votes`. The limits are set
    by simulation: see `tests/worker/rlhf/policy/test_fresh_votes.py`.
    """

    votes: int = POOLED
    z: float = Z
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the pooled share is clearly below an earlier one, or below one half.

        Below one half is an alarm only while the held-out reward is above the initial one: the
        reward model then prefers what people do not.
        """
        looks = [step.fresh for step in history if step.fresh]
        start = _start(looks, len(looks), self.votes)
        if history[-1].heldout_reward is None or start is None:
            return None
        now = pooled(_flat(looks[start:]), self.z)
        best = self._best(looks[:start])
        if best is not None and now.high < best.low:
            return f"fresh votes: people prefer the policy in {_words(now)}, earlier {_words(best)}"
        if now.high < 0.5 and _rises(history):
            return (
                f"fresh votes: people prefer the policy in {_words(now)}, below one half, while "
                "the held-out reward is above the initial one"
            )
        return None

    def _best(self, looks: Sequence[Sequence[FreshVote]]) -> PooledShare | None:
        """Return the earlier share with the highest lower end: of enough votes, or of all."""
        ends = [(_start(looks, end, self.votes), end) for end in range(1, len(looks) + 1)]
        spans = {(at, end) for start, end in ends if start is not None for at in (0, start)}
        shares = [pooled(_flat(looks[start:end]), self.z) for start, end in sorted(spans)]
        return max(shares, key=lambda one: one.low, default=None)


def latest(history: History, votes: int = POOLED, z: float = Z) -> PooledShare | None:
    """Return the share over the last evaluations: of `votes`, or of all if there are fewer."""
    looks = [step.fresh for step in history if step.fresh]
    start = _start(looks, len(looks), votes) or 0
    return pooled(_flat(looks[start:]), z) if looks else None


def pooled(votes: Sequence[FreshVote], z: float = Z) -> PooledShare:
    """Return the mean of votes, with Wilson's interval at the effective number of votes.

    That is the number divided by the design effect, the variance clustered by prompt over that of
    independent votes (Kish 1965), which is taken to be at least 1. Shares of 0 and 1 show no
    spread, and prompts count as votes.

    Args:
        votes: At least one.
        z: Normal quantile of the interval.
    """
    by_prompt: defaultdict[str, list[float]] = defaultdict(list)
    for prompt, vote in votes:
        by_prompt[prompt].append(vote)
    count, clusters = len(votes), len(by_prompt)
    share = math.fsum(vote for _, vote in votes) / count
    trials = float(clusters)
    independent = share * (1 - share) / count
    if independent > 0 and clusters > 1:
        squares = math.fsum((math.fsum(own) - share * len(own)) ** 2 for own in by_prompt.values())
        clustered = squares / count**2 * clusters / (clusters - 1)
        trials = count / max(1.0, clustered / independent)
    return PooledShare(share, *_wilson(share, trials, z), count)


def _wilson(share: float, trials: float, z: float) -> tuple[float, float]:
    shrink = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / shrink
    return max(0.0, middle - half), min(1.0, middle + half)


def _start(looks: Sequence[Sequence[FreshVote]], end: int, votes: int) -> int | None:
    """Return where the evaluations up to `end` start that have enough votes; None if too few."""
    count = 0
    for start in range(end - 1, -1, -1):
        count += len(looks[start])
        if count >= votes:
            return start
    return None


def _flat(looks: Sequence[Sequence[FreshVote]]) -> list[FreshVote]:
    return [vote for look in looks for vote in look]


def _rises(history: History) -> bool:
    """Whether the held-out reward is above that of the first evaluation."""
    rewards = [step.heldout_reward for step in history if step.heldout_reward is not None]
    return rewards[-1] > rewards[0]


def _words(share: PooledShare) -> str:
    return f"{share.share:.0%} of {share.votes} votes [{share.low:.0%}, {share.high:.0%}]"

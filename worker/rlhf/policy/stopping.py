"""Stopping rules for policy training, evaluated on the history of a run.

A rule holds its limits and no state: it reads the whole history, which is part of the checkpoint,
so a resumed run stops at the same step as one that was never interrupted.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Protocol

FreshVote = tuple[str, float]
"""The key of a held-out prompt; and 1 for the policy, 0 for the reference, ½ for a tie."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The metrics of one step that rules look at.

    Held-out metrics are None between evaluations; `disagreement` is None without an ensemble.
    `heldout_rewards` has those of the held-out prompts one by one, in the same order every time.
    `fresh` has people's votes on pairs that were asked at this step: see `fresh_votes`.
    """

    step: int
    reward: float
    kl_nats: float
    length: float
    entropy: float
    disagreement: float | None = None
    heldout_reward: float | None = None
    heldout_kl_nats: float | None = None
    heldout_rewards: Sequence[float] = ()
    fresh: Sequence[FreshVote] = ()


History = Sequence[Observation]


class Rule(Protocol):
    """A condition for stopping a run."""

    def reason(self, history: History) -> str | None:
        """Return the reason to stop after the last step of the history, or None."""

    @property
    def is_alarm(self) -> bool:
        """Whether the rule indicates over-optimization, where the reward is no longer trusted."""


@dataclass(frozen=True, slots=True)
class KlBudget:
    """A limit on √KL from the reference, the distance in Gao et al. 2022 (arXiv 2210.10760)."""

    sqrt_kl: float
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when √KL of the last batch exceeds the budget."""
        sqrt_kl = math.sqrt(max(history[-1].kl_nats, 0.0))
        if sqrt_kl <= self.sqrt_kl:
            return None
        return f"KL budget: the square root of KL is {sqrt_kl:.2f}, the budget {self.sqrt_kl:.2f}"


@dataclass(frozen=True, slots=True)
class RewardTarget:
    """A held-out reward to reach."""

    reward: float
    is_alarm: bool = False

    def reason(self, history: History) -> str | None:
        """Stop when the latest held-out reward reaches the target."""
        heldout_reward = history[-1].heldout_reward
        if heldout_reward is None or heldout_reward < self.reward:
            return None
        return f"reward target: held-out reward {heldout_reward:.2f} reached {self.reward:.2f}"


@dataclass(frozen=True, slots=True)
class Plateau:
    """Two consecutive windows of evaluations, the later one hardly better than the earlier."""

    evaluations: int = 4
    min_gain: float = 0.02
    is_alarm: bool = False

    def reason(self, history: History) -> str | None:
        """Stop when the mean of the last window is not `min_gain` above the previous one."""
        rewards = _heldout_rewards(history)
        if history[-1].heldout_reward is None or len(rewards) < 2 * self.evaluations:
            return None
        latest = fmean(rewards[-self.evaluations :])
        previous = fmean(rewards[-2 * self.evaluations : -self.evaluations])
        if latest - previous >= self.min_gain:
            return None
        return (
            f"plateau: mean held-out reward {latest:.2f} over {self.evaluations} evaluations, "
            f"{previous:.2f} over the previous {self.evaluations}"
        )


@dataclass(frozen=True, slots=True)
class HeldoutPeak:
    """Held-out reward has peaked: no recent improvement, and clearly below its best.

    Clearly is by `tolerance`, and by `errors` standard errors of the difference on the same
    prompts: of few prompts, a mean moves by more than the tolerance without any cause.
    """

    patience: int = 4
    tolerance: float = 0.1
    errors: float = 2.0
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the best is `patience` evaluations old and the latest is below it."""
        looks = [step for step in history if step.heldout_reward is not None]
        if history[-1].heldout_reward is None or not looks:
            return None
        rewards = _heldout_rewards(history)
        best = max(range(len(rewards)), key=rewards.__getitem__)
        age, fall = len(rewards) - 1 - best, rewards[best] - rewards[-1]
        least = max(self.tolerance, self.errors * _paired_error(looks[best], looks[-1]))
        if age < self.patience or fall < least:
            return None
        return f"held-out peak: {rewards[best]:.2f} {age} evaluations ago, now {rewards[-1]:.2f}"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The ensemble's reward models disagree: completions have left the training distribution."""

    factor: float = 2.0
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the spread between members exceeds `factor` times the initial one."""
        initial, latest = history[0].disagreement, history[-1].disagreement
        if initial is None or latest is None or latest <= self.factor * initial:
            return None
        return f"disagreement: the reward models differ by {latest:.2f}, initially by {initial:.2f}"


@dataclass(frozen=True, slots=True)
class LengthDrift:
    """Responses have become much longer or much shorter than at the first step.

    A run that began from an earlier policy may return to the length of its reference: nothing is
    reported while KL is not above that of the first step.
    """

    longer: float = 1.75
    shorter: float = 1.75
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the mean length is off the initial one by more than a factor."""
        initial, latest = history[0].length, history[-1].length
        returns = history[-1].kl_nats <= history[0].kl_nats
        if returns or initial / self.shorter <= latest <= initial * self.longer:
            return None
        return f"length drift: responses have {latest:.0f} tokens, initially {initial:.0f}"


@dataclass(frozen=True, slots=True)
class EntropyCollapse:
    """The policy has become nearly deterministic."""

    share: float = 0.2
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the entropy falls below `share` of the initial one."""
        initial, latest = history[0].entropy, history[-1].entropy
        if latest >= self.share * initial:
            return None
        return f"entropy collapse: {latest:.2f} nats per token, initially {initial:.2f}"


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ends, and whether the reason is an alarm."""

    reason: str
    is_alarm: bool


def check(rules: Iterable[Rule], history: History, *, steps_total: int) -> Stop | None:
    """Return why to stop, or None: alarms first, then the other rules, then the planned end."""
    for rule in sorted(rules, key=lambda rule: not rule.is_alarm):
        reason = rule.reason(history)
        if reason is not None:
            return Stop(reason, rule.is_alarm)
    if history[-1].step >= steps_total:
        return Stop(f"steps: all {steps_total} done", is_alarm=False)
    return None


def _paired_error(first: Observation, second: Observation) -> float:
    """Return the standard error of the difference of two mean rewards; 0 if only these are known.

    The prompts of both evaluations are the same.
    """
    pairs = zip(first.heldout_rewards, second.heldout_rewards, strict=True)
    differences = [one - other for one, other in pairs]
    if len(differences) < 2:
        return 0.0
    return stdev(differences) / math.sqrt(len(differences))


def _heldout_rewards(history: History) -> list[float]:
    return [step.heldout_reward for step in history if step.heldout_reward is not None]

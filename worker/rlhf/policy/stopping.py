"""When a policy run should end, as small rules over what has been observed so far.

A rule holds its limits and no state: it reads the whole history, which is part of the checkpoint,
so that a resumed run stops where the other would have. Each gives its reason as a sentence.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Observation:
    """What one step of a policy run looked like.

    The held-out figures are None between evaluations, `disagreement` without an ensemble.
    """

    step: int
    reward: float
    kl_nats: float
    length: float
    entropy: float
    disagreement: float | None = None
    heldout_reward: float | None = None
    heldout_kl_nats: float | None = None


History = Sequence[Observation]


class Rule(Protocol):
    """One reason to stop."""

    def reason(self, history: History) -> str | None:
        """Say why to stop now, or None to go on. The history's last element is now."""

    @property
    def is_alarm(self) -> bool:
        """Whether this means that the reward is no longer to be believed."""


@dataclass(frozen=True, slots=True)
class KlBudget:
    """√KL from the reference, the distance of Gao et al. 2022 (arXiv 2210.10760)."""

    sqrt_kl: float
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the last batch went beyond the budget."""
        now = math.sqrt(max(history[-1].kl_nats, 0.0))
        if now <= self.sqrt_kl:
            return None
        return f"KL budget: the square root of KL is {now:.2f}, the budget {self.sqrt_kl:.2f}"


@dataclass(frozen=True, slots=True)
class RewardTarget:
    """A held-out reward that is good enough."""

    reward: float
    is_alarm: bool = False

    def reason(self, history: History) -> str | None:
        """Stop when the newest held-out reward reaches the target."""
        now = history[-1].heldout_reward
        if now is None or now < self.reward:
            return None
        return f"reward target: held-out reward {now:.2f} reached {self.reward:.2f}"


@dataclass(frozen=True, slots=True)
class Plateau:
    """Two windows of evaluations, the later hardly better than the earlier."""

    evaluations: int = 4
    min_gain: float = 0.02
    is_alarm: bool = False

    def reason(self, history: History) -> str | None:
        """Stop when the mean of the last window is not `min_gain` above the one before."""
        rewards = _heldout(history)
        if history[-1].heldout_reward is None or len(rewards) < 2 * self.evaluations:
            return None
        now = fmean(rewards[-self.evaluations :])
        before = fmean(rewards[-2 * self.evaluations : -self.evaluations])
        if now - before >= self.min_gain:
            return None
        return f"plateau: held-out reward {now:.2f}, {before:.2f} {self.evaluations} looks ago"


@dataclass(frozen=True, slots=True)
class HeldoutPeak:
    """Held-out reward has peaked: no better for some evaluations, and clearly below its best."""

    patience: int = 4
    tolerance: float = 0.1
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the best is `patience` evaluations old and the newest is below it."""
        rewards = _heldout(history)
        if history[-1].heldout_reward is None or not rewards:
            return None
        best = max(range(len(rewards)), key=rewards.__getitem__)
        age = len(rewards) - 1 - best
        if age < self.patience or rewards[best] - rewards[-1] < self.tolerance:
            return None
        return f"held-out peak: {rewards[best]:.2f} {age} looks ago, now {rewards[-1]:.2f}"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The reward models of the ensemble have come to disagree: the answers left their data."""

    factor: float = 2.0
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the members' spread is `factor` times what it was at the first step."""
        start, now = history[0].disagreement, history[-1].disagreement
        if start is None or now is None or now <= self.factor * start:
            return None
        return f"disagreement: the reward models differ by {now:.2f}, at first by {start:.2f}"


@dataclass(frozen=True, slots=True)
class LengthDrift:
    """Answers have become much longer, or much shorter, than at the first step."""

    factor: float = 1.75
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the mean length left the band."""
        start, now = history[0].length, history[-1].length
        if start / self.factor <= now <= start * self.factor:
            return None
        return f"length drift: answers have {now:.0f} tokens, at first {start:.0f}"


@dataclass(frozen=True, slots=True)
class EntropyCollapse:
    """The policy has nearly stopped choosing."""

    share: float = 0.2
    is_alarm: bool = True

    def reason(self, history: History) -> str | None:
        """Stop when the entropy fell below `share` of the first step's."""
        start, now = history[0].entropy, history[-1].entropy
        if now >= self.share * start:
            return None
        return f"entropy collapse: {now:.2f} nats a token, at first {start:.2f}"


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ended, and whether that was an alarm."""

    reason: str
    is_alarm: bool


def check(rules: Iterable[Rule], history: History, *, steps_total: int) -> Stop | None:
    """Return the first rule's verdict, alarms before the rest; the planned end comes last."""
    for rule in sorted(rules, key=lambda rule: not rule.is_alarm):
        reason = rule.reason(history)
        if reason is not None:
            return Stop(reason, rule.is_alarm)
    if history[-1].step >= steps_total:
        return Stop(f"steps: all {steps_total} done", is_alarm=False)
    return None


def _heldout(history: History) -> list[float]:
    """Return the held-out rewards in order."""
    return [seen.heldout_reward for seen in history if seen.heldout_reward is not None]

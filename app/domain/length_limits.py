"""How much longer or shorter a policy's responses may become, by what people chose.

A reward model that is gamed often pays for length alone; but people may really like shorter
responses, or longer ones, and then a policy that gives them these is no alarm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final

from app.domain.student import quantile

RECORDED: Final = "longer_wins"
"""Where a reward model's settings have `LongerWins`; models of earlier versions lack it."""
USUAL: Final = 1.75
"""The factor on the mean length at the first step beyond which a run stops."""
CHOSEN: Final = USUAL**2
"""The factor in the direction that people choose."""
_CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class LongerWins:
    """How often people choose the longer of two responses: the share, with a 95 % interval."""

    share: float
    low: float
    high: float

    @classmethod
    def of_prompts(cls, shares: Sequence[float]) -> "LongerWins | None":
        """Return it for the shares of all prompts, which are independent; None of fewer than 2."""
        if len(shares) < 2:
            return None
        mean, error = fmean(shares), stdev(shares) / len(shares) ** 0.5
        reach = quantile(0.5 + _CONFIDENCE / 2, len(shares) - 1) * error
        return cls(mean, max(0.0, mean - reach), min(1.0, mean + reach))


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """The factors on the mean length at the first step beyond which a run stops."""

    longer: float = USUAL
    shorter: float = USUAL

    @property
    def remark(self) -> str:
        """What people chose, and what follows from it; empty if nothing does."""
        if self == LengthLimits():
            return ""
        word, factor = (
            ("longer", self.longer) if self.longer > self.shorter else ("shorter", self.shorter)
        )
        return (
            f"People choose the {word} of two responses more often than not, so responses may "
            f"become {factor:.1f} times as {'long' if word == 'longer' else 'short'} before the "
            f"alarm for length drift ends the run, instead of {USUAL} times."
        )


def of(reward: Mapping[str, Any]) -> LengthLimits:
    """Return the limits for a policy, by the settings of its reward model.

    Args:
        reward: the settings; empty if nobody's choices are behind the reward.

    """
    kept = reward.get(RECORDED)
    if kept is None:
        return LengthLimits()
    if kept["low"] > 0.5:
        return LengthLimits(longer=CHOSEN)
    if kept["high"] < 0.5:
        return LengthLimits(shorter=CHOSEN)
    return LengthLimits()

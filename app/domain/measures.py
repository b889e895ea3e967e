"""Results of statistics: a number with an interval, or the reason why there is none.

A statistic that is undefined for the data at hand is a value with a reason, never NaN.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from app.errors import Invalid

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Undefined:
    """The absence of a number, with the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval at ``level``."""

    low: float
    high: float
    level: float = LEVEL


@dataclass(frozen=True, slots=True)
class Measure:
    """A number, its interval, and the number of comparisons (or trials) behind it."""

    value: float | Undefined
    interval: Interval | Undefined
    n: int

    @classmethod
    def missing(cls, reason: str, n: int = 0) -> "Measure":
        """Return a measure that has neither a number nor an interval, for one reason."""
        return cls(Undefined(reason), Undefined(reason), n)


def wilson(successes: float, trials: int, level: float = LEVEL) -> Interval | Undefined:
    """Compute Wilson's score interval for a share (Wilson 1927), within [0, 1].

    ``successes`` may be a sum of shares. Raises Invalid outside 0 to ``trials``.
    """
    if trials < 1:
        return Undefined("nothing was counted")
    if not 0 <= successes <= trials:
        raise Invalid(f"successes must be 0 to {trials}, not {successes}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    return Interval(*wilson_bounds(successes / trials, trials, z), level)


def wilson_bounds(share: float, trials: float, z: float) -> tuple[float, float]:
    """Return the ends of Wilson's interval of a share of ``trials``, which may be fractional."""
    shrink = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / shrink
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / shrink
    # At the extremes the bounds are exactly 0 and 1; rounding must not exceed them.
    low = 0.0 if share == 0 else max(0.0, middle - half)
    high = 1.0 if share == 1 else min(1.0, middle + half)
    return low, high


def share(successes: float, trials: int, nothing: str, level: float = LEVEL) -> Measure:
    """Measure a share with Wilson's interval; ``nothing`` is the reason if there were no trials."""
    if trials < 1:
        return Measure.missing(nothing)
    return Measure(successes / trials, wilson(successes, trials, level), trials)

"""Whether to promote a new policy, as the interval of a blind evaluation recommends.

To promote takes evidence that the policy is better: its whole interval lies above one half.
Anything else is a recommendation to hold, and the reason is named.
"""

from dataclasses import dataclass

from app.domain.win_rates import EvaluationResults

EVEN = 0.5
"""The share of wins at which neither policy is preferred."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do with a new policy; `finding` is the evidence with its figures."""

    promote: bool
    finding: str

    @property
    def verdict(self) -> str:
        """The finding and what it recommends, in one line."""
        return f"{self.finding}: {'promote' if self.promote else 'hold'}"

    @property
    def objection(self) -> str:
        """What to ask before the opposite is done."""
        act = "Hold" if self.promote else "Promote"
        return f"{act} against the recommendation? {self.finding}."


def recommend(results: EvaluationResults | None) -> Recommendation | None:
    """Return what an evaluation recommends; None where nothing was evaluated."""
    if results is None:
        return None
    if results.share is None:
        return Recommendation(False, f"No result ({results.reason})")
    figures = in_percent(results.share, results.low, results.high)
    if results.low is None or results.high is None:
        return Recommendation(False, f"No evidence of improvement ({figures}, no interval)")
    if results.low > EVEN:
        return Recommendation(True, f"The new policy is better ({figures})")
    if results.high < EVEN:
        return Recommendation(False, f"The new policy is worse ({figures})")
    return Recommendation(False, f"No evidence of improvement ({figures})")


def in_percent(share: float, low: float | None, high: float | None) -> str:
    """Write a share with its interval; with a decimal where a bound would round to one half."""
    if low is None or high is None:
        return f"{100 * share:.0f} %"
    digits = 1 if any(f"{100 * bound:.0f}" == "50" for bound in (low, high)) else 0
    return f"{100 * share:.{digits}f} % [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"

"""The two lines a reward model's accuracy is drawn against.

Let q be the share of people who prefer the first of a pair. Two people agree with probability
A = E[q² + (1 - q)²]; the best possible predictor of single votes is right with probability
E[max(q, 1 - q)]. With m = |2q - 1|, A = (1 + E[m²]) / 2 and the ceiling is (1 + E[m]) / 2. As
E[m²] ≤ E[m] ≤ √E[m²], the ceiling lies in [A, (1 + √(2A - 1)) / 2], and A alone says no more.
"""

from dataclasses import dataclass
from math import sqrt

from app.domain.measures import Undefined
from app.errors import Invalid


@dataclass(frozen=True, slots=True)
class Levels:
    """Human level A, and the band in which the noise ceiling lies."""

    human: float
    ceiling_low: float
    ceiling_high: float


def levels(agreement: float | Undefined) -> Levels | Undefined:
    """Return the human level and the noise-ceiling band of a two-way agreement without ties."""
    if isinstance(agreement, Undefined):
        return agreement
    if not 0 <= agreement <= 1:
        raise Invalid(f"agreement must be 0 to 1, not {agreement}")
    if agreement < 0.5:
        return Undefined(
            f"labelers agree less than half the time ({agreement:.2f}); no share of preferences "
            "gives that, so there is no ceiling to draw"
        )
    return Levels(agreement, agreement, (1 + sqrt(2 * agreement - 1)) / 2)


def exact_ceiling(shares: list[float]) -> float | Undefined:
    """Return E[max(q, 1 - q)] when each pair's share of preference q is known (simulation)."""
    if not shares:
        return Undefined("there are no pairs")
    return sum(max(q, 1 - q) for q in shares) / len(shares)

"""The human level and the noise ceiling: what a reward model's accuracy on votes is compared with.

Let q be the share of people who prefer the first of a pair. Two people agree with probability
A = E[q² + (1 - q)²]; the best possible predictor of single votes is right with probability
E[max(q, 1 - q)]. With m = |2q - 1|, A = (1 + E[m²]) / 2 and the ceiling is (1 + E[m]) / 2. Since
E[m²] ≤ E[m] ≤ √E[m²], the ceiling lies in [A, (1 + √(2A - 1)) / 2]; A alone does not determine it.
"""

from dataclasses import dataclass
from math import sqrt

from app.domain.measures import Undefined
from app.errors import Invalid


@dataclass(frozen=True, slots=True)
class Levels:
    """The human level A and the band that contains the noise ceiling."""

    human: float
    ceiling_low: float
    ceiling_high: float


def levels(agreement: float | Undefined) -> Levels | Undefined:
    """Return the human level and the noise-ceiling band for a pairwise agreement without ties."""
    if isinstance(agreement, Undefined):
        return agreement
    if not 0 <= agreement <= 1:
        raise Invalid(f"agreement must be 0 to 1, not {agreement}")
    agreement = round(agreement, 12)  # one half may miss it by a rounding error
    if agreement < 0.5:
        return Undefined(
            f"labelers agree less than half of the time ({agreement:.2f}), which no distribution "
            "of preferences can produce, so there is no ceiling"
        )
    return Levels(agreement, agreement, (1 + sqrt(2 * agreement - 1)) / 2)

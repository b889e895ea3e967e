"""More labelers per comparison, or more comparisons? Advice for a fixed number of judgments.

The model is the one-coin model of Dawid and Skene (1979, Journal of the Royal Statistical Society C
28): each comparison has a better response, and every labeler picks it with the same probability p,
independently of the others. Two labelers then agree with probability A = p² + (1 - p)², so that
p = (1 + √(2A - 1)) / 2. Of k judgments of a comparison,

- the majority is right with probability sum_{i > k/2} C(k, i) p^i (1 - p)^(k - i) (Sheng, Provost
  and Ipeirotis 2008, "Get another label?", KDD), and
- the votes tell as much about the better response as their mutual information with it, I(k) bits.
  The reward model learns from the vote shares, which are sufficient for it.

N judgments are spent on N / k comparisons and bring N I(k) / k bits. That falls with k, because the
votes on one comparison partly repeat each other: one judgment each is never worse for learning. How
much worse several are depends on p alone: next to nothing where labelers hardly agree, two thirds
with three judgments where they always do. Where taste differs, or some comparisons are harder than
others, this is a rough guide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, comb, log2, sqrt
from typing import Final

from app.domain.measures import Measure, Undefined
from app.errors import Invalid

OVERLAPS: Final = (1, 3, 5)
SEVERAL: Final = 3
"""The judgments per comparison that one judgment each is weighed against."""

KEEPS: Final = 0.8
"""The share of the information that three judgments each must keep to be advised."""


class OverlapVerdict(StrEnum):
    """What to spend the judgments on."""

    MORE_COMPARISONS = "more_comparisons"
    MORE_LABELERS = "more_labelers"
    NO_MORE_COMPARISONS = "no_more_comparisons"  # there are fewer of them than judgments
    NOT_ENOUGH = "not_enough"  # judgments so far to tell


@dataclass(frozen=True, slots=True)
class Spending:
    """A number of comparisons with so many judgments each.

    `accuracy` is the probability that the majority of them is right, `bits` what all judgments tell
    about the better responses, `kept` the share of what they would tell with one judgment each.
    """

    overlap: int
    comparisons: int
    accuracy: float
    bits: float
    kept: float


@dataclass(frozen=True, slots=True)
class OverlapAdvice:
    """The advice for `judgments`, from an agreement without ties and its interval.

    `kept_low` and `kept_high` bound the share of the information that three judgments each keep.
    `reason` says why there is not enough to tell. `comparisons_most` is how many comparisons there
    can be.
    """

    verdict: OverlapVerdict
    judgments: int
    comparisons_most: int
    agreement: float | None = None
    agreement_low: float | None = None
    agreement_high: float | None = None
    labeler_accuracy: float | None = None
    spendings: tuple[Spending, ...] = ()
    kept_low: float | None = None
    kept_high: float | None = None
    reason: str = ""

    @property
    def overlap_least(self) -> int:
        """The judgments each that use up the budget on all comparisons that there can be."""
        return ceil(self.judgments / max(self.comparisons_most, 1))


def labeler_accuracy(agreement: float) -> float:
    """Return how often a labeler is right, p, from how often two of them agree, at least half.

    Raises:
        Invalid: the agreement is not 0.5 to 1, which the model cannot produce.
    """
    if not 0.5 <= agreement <= 1:
        raise Invalid(f"agreement must be 0.5 to 1 for labelers of one accuracy, not {agreement}")
    return (1 + sqrt(2 * agreement - 1)) / 2


def majority_accuracy(accuracy: float, overlap: int) -> float:
    """Return how often the majority of `overlap` labelers is right; a tie is half right."""
    total = 0.0
    for right in range(overlap + 1):
        share = comb(overlap, right) * accuracy**right * (1 - accuracy) ** (overlap - right)
        total += share * (1.0 if 2 * right > overlap else 0.5 if 2 * right == overlap else 0.0)
    return total


def information(accuracy: float, overlap: int) -> float:
    """Return the mutual information of `overlap` votes and the better response, in bits."""
    total = 0.0
    for right in range(overlap + 1):
        first = accuracy**right * (1 - accuracy) ** (overlap - right)
        second = accuracy ** (overlap - right) * (1 - accuracy) ** right
        if first + second:
            weight = comb(overlap, right) * (first + second) / 2
            total += weight * (1 - _entropy(first / (first + second)))
    return total


def kept(agreement: float, overlap: int) -> float:
    """Return the share of the information that `overlap` judgments each keep of one each."""
    accuracy = labeler_accuracy(agreement)
    if accuracy == 0.5:
        return 1.0  # the limit: neither tells anything
    return information(accuracy, overlap) / (overlap * information(accuracy, 1))


def spend(agreement: float, judgments: int, overlaps: Sequence[int]) -> tuple[Spending, ...]:
    """Return what a number of judgments brings with one or several on each comparison."""
    accuracy = labeler_accuracy(agreement)
    return tuple(
        Spending(
            overlap,
            judgments // overlap,
            majority_accuracy(accuracy, overlap),
            judgments // overlap * information(accuracy, overlap),
            kept(agreement, overlap),
        )
        for overlap in overlaps
    )


def advise(agreement: Measure, judgments: int, comparisons_most: int) -> OverlapAdvice:
    """Advise on judgments from the agreement of any two labelers, ties aside.

    Args:
        agreement: with its interval; it may be undefined.
        judgments: the budget.
        comparisons_most: the distinct comparisons that can be made at most.
    """
    if isinstance(agreement.value, Undefined):
        return _not_enough(judgments, comparisons_most, agreement.value.reason)
    if isinstance(agreement.interval, Undefined):
        return _not_enough(judgments, comparisons_most, agreement.interval.reason)
    value, low, high = agreement.value, agreement.interval.low, agreement.interval.high
    if low <= 0.5:
        reason = f"two labelers agree {100 * value:.0f} % of the time, and chance may explain it"
        return _not_enough(judgments, comparisons_most, reason, (value, low, high))
    kept_low, kept_high = kept(high, SEVERAL), kept(low, SEVERAL)
    verdict, reason = _verdict(kept_low, kept_high, judgments > comparisons_most)
    return OverlapAdvice(
        verdict,
        judgments,
        comparisons_most,
        value,
        low,
        high,
        labeler_accuracy(value),
        spend(value, judgments, OVERLAPS),
        kept_low,
        kept_high,
        reason,
    )


def _verdict(kept_low: float, kept_high: float, are_scarce: bool) -> tuple[OverlapVerdict, str]:
    if are_scarce:
        return OverlapVerdict.NO_MORE_COMPARISONS, ""
    if kept_high < KEEPS:
        return OverlapVerdict.MORE_COMPARISONS, ""
    if kept_low >= KEEPS:
        return OverlapVerdict.MORE_LABELERS, ""
    return OverlapVerdict.NOT_ENOUGH, "the interval of the agreement is too wide to tell"


def _not_enough(
    judgments: int,
    comparisons_most: int,
    reason: str,
    agreement: tuple[float | None, float | None, float | None] = (None, None, None),
) -> OverlapAdvice:
    value, low, high = agreement
    return OverlapAdvice(
        OverlapVerdict.NOT_ENOUGH, judgments, comparisons_most, value, low, high, reason=reason
    )


def _entropy(share: float) -> float:
    return -sum(part * log2(part) for part in (share, 1 - share) if part > 0)

"""Kappa statistics: Cohen's for two raters, Fleiss' for the same number of raters on every unit.

Both compare the observed agreement with the agreement expected from the raters' own marginal
frequencies. Alpha needs no assumption about who judged what.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from app.domain.krippendorff import ALL_EQUAL, NO_PAIR
from app.domain.measures import Undefined


def cohen(pairs: Iterable[tuple[Hashable, Hashable]]) -> float | Undefined:
    """Compute Cohen's unweighted kappa (1960) of (first rater, second rater) values."""
    both = list(pairs)
    if not both:
        return Undefined(NO_PAIR)
    n = len(both)
    first, second = Counter(a for a, _ in both), Counter(b for _, b in both)
    agree = sum(a == b for a, b in both)
    # Counted in integers, so that the test for "all equal" is exact.
    by_chance = sum(count * second[value] for value, count in first.items())
    if by_chance == n * n:
        return Undefined(ALL_EQUAL)
    return (agree * n - by_chance) / (n * n - by_chance)


def fleiss(units: Iterable[Sequence[Hashable]]) -> float | Undefined:
    """Compute Fleiss' kappa (1971) of units, each a list of the values that its raters gave.

    Undefined unless every unit has the same number of raters, and at least two.
    """
    tallies = [Counter(unit) for unit in units]
    if not tallies:
        return Undefined(NO_PAIR)
    sizes = {tally.total() for tally in tallies}
    if len(sizes) > 1:
        low, high = min(sizes), max(sizes)
        return Undefined(
            "Fleiss' kappa needs the same number of judgments everywhere; "
            f"it ranges from {low} to {high}"
        )
    (raters,) = sizes
    if raters < 2:
        return Undefined(NO_PAIR)
    total = raters * len(tallies)
    by_value: Counter[Hashable] = Counter()
    for tally in tallies:
        by_value.update(tally)
    if len(by_value) == 1:
        return Undefined(ALL_EQUAL)
    pairs = sum(count * (count - 1) for tally in tallies for count in tally.values())
    observed = pairs / (total * (raters - 1))
    expected = sum(count * count for count in by_value.values()) / (total * total)
    return (observed - expected) / (1 - expected)

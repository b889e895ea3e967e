"""Alpha of units that are lists of values, from the product's own coincidence matrices."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from app.domain.krippendorff import (
    ALL_EQUAL,
    NO_PAIR,
    DistanceMetric,
    of_coincidences,
    summed_coincidences,
)
from app.domain.measures import Undefined


def alpha(
    units: Iterable[Sequence[float]], metric: DistanceMetric = DistanceMetric.NOMINAL
) -> float | Undefined:
    """Compute alpha of units, each a list of the values that its judges gave."""
    tallies = [tally for unit in units if (tally := Counter(unit)).total() >= 2]
    if not tallies:
        return Undefined(NO_PAIR)
    values = sorted({value for tally in tallies for value in tally})
    counts = np.array([[tally[value] for value in values] for tally in tallies], dtype=float)
    one_group = np.zeros(len(counts), dtype=np.int64)
    total = summed_coincidences(counts, np.ones(len(counts)), one_group, 1)
    result = float(of_coincidences(total, np.array(values, dtype=float), metric)[0])
    return Undefined(ALL_EQUAL) if np.isnan(result) else result

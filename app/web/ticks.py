"""Round values for the axes of pictures that the server draws, and their labels."""

import math
from collections.abc import Iterable


def nice_values(low: float, high: float) -> Iterable[float]:
    """Return three or four round values between two bounds."""
    step = 10 ** math.floor(math.log10((high - low) / 2))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= 4:
            step *= factor
            break
    first = math.ceil(low / step)
    return [at * step for at in range(first, math.floor(high / step) + 1)]


def tick_label(value: float, span: float) -> str:
    """Return a grid line's label, with as many digits as a range of that span needs."""
    if span < 4e-4:
        return f"{value:.0e}"
    digits = 0 if span >= 4 else math.ceil(-math.log10(span / 4))
    return f"{value + 0.0:,.{digits}f}"

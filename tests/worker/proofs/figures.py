"""Measures as the proofs compare and print them."""

import math

from app.domain.measures import Interval, Measure


def value(measure: Measure) -> float:
    """Return a value that is defined."""
    assert isinstance(measure.value, float), measure
    return measure.value


def low(measure: Measure) -> float:
    """Return the lower bound; where nothing differs there is none, and nothing is shown."""
    return measure.interval.low if isinstance(measure.interval, Interval) else -math.inf


def high(measure: Measure) -> float:
    """Return the upper bound; where nothing differs there is none, and nothing is ruled out."""
    return measure.interval.high if isinstance(measure.interval, Interval) else math.inf


def span(measure: Measure) -> str:
    """Return an interval in brackets."""
    if not isinstance(measure.interval, Interval):
        return "[no interval]"
    return f"[{measure.interval.low:.2f}, {measure.interval.high:.2f}]"

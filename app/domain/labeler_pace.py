"""Labelers who judge much faster than the others: nobody reads that fast.

The times of people differ, and often by a factor of two. Who takes less than a quarter of the time
that others take has hardly read the same texts; why that is so is for people to ask.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

HASTE = 0.25
"""The part of the others' time below which a labeler is hasty."""

TIMED_LEAST = 30
"""Judgments with a recorded time, below which nothing is said about a labeler's."""


@dataclass(frozen=True, slots=True)
class LabelerPace:
    """The median time of a labeler's judgments, and how many of them were timed."""

    median_s: float
    timed: int


def haste(paces: Mapping[int, LabelerPace], labeler: int) -> str:
    """Return the remark on a hasty labeler, as a predicate; empty for all others.

    Args:
        paces: of all labelers with a timed judgment.
        labeler: who is compared with the others.
    """
    own = paces.get(labeler)
    others = [
        pace.median_s
        for name, pace in paces.items()
        if name != labeler and pace.timed >= TIMED_LEAST
    ]
    if own is None or own.timed < TIMED_LEAST or not others:
        return ""
    usual_s = median(others)
    if own.median_s >= HASTE * usual_s:
        return ""
    return f"takes {_words(own.median_s)} for a judgment where others take {_words(usual_s)}"


def _words(seconds: float) -> str:
    """Return a time, such as "0.8 s", "24 s" or "3 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    return f"{seconds:.0f} s" if seconds < 89.5 else f"{seconds / 60:.0f} min"

"""Figures of scored responses: their spread, paired differences, and accuracy on judged pairs.

What computes the scores is left to the worker, and choosing the rows to callers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, sqrt
from statistics import fmean, stdev
from typing import Any

from app.domain import measures, student
from app.domain.measures import LEVEL, Interval, Measure, Undefined
from app.errors import Invalid

BINS = 12
OVERALL = ""
"""The name of all subsets together."""

Scores = Sequence[float | None]
"""The scores of one side, prompt by prompt; None where it has no response."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of one side's scores; `over` is the share above the threshold."""

    n: int
    mean: float | Undefined
    std: float | Undefined
    low: float | None
    high: float | None
    over: Measure


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of each side's scores in bins of equal width that all sides share."""

    edges: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def most(self) -> int:
        """The largest count."""
        return max((count for side in self.counts for count in side), default=0)


@dataclass(frozen=True, slots=True)
class SubsetAccuracy:
    """How often the chosen response scored higher; a tie counts as half."""

    subset: str
    accuracy: Measure
    ties: int


@dataclass(frozen=True, slots=True)
class SideFigures:
    """The figures of one side; `change` is its paired difference from the first side."""

    name: str
    spread: Spread
    change: Measure | None


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """All figures of a scoring; accuracies only of judged pairs."""

    sides: tuple[SideFigures, ...]
    histogram: Histogram
    accuracies: tuple[SubsetAccuracy, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "sides": [_side_json(side) for side in self.sides],
            "histogram": {"edges": self.histogram.edges, "counts": self.histogram.counts},
            "accuracy": [
                {"subset": row.subset or None, "ties": row.ties, **measure_json(row.accuracy)}
                for row in self.accuracies
            ],
        }


def summarize(
    names: Sequence[str],
    scores: Sequence[Scores],
    threshold: float | None = None,
    subsets: Sequence[str] | None = None,
) -> ScoreSummary:
    """Return the figures of each side, and of judged pairs if their subsets are given.

    Args:
        names: of the sides, the one to compare with first.
        scores: of each side, prompt by prompt.
        threshold: whose share of higher scores is wanted, if any.
        subsets: of judged pairs, where the sides are chosen and rejected.

    Raises:
        Invalid: a score is not finite.
    """
    sides = tuple(
        SideFigures(
            name,
            spread(side, threshold),
            difference(scores[0], side) if number and subsets is None else None,
        )
        for number, (name, side) in enumerate(zip(names, scores, strict=True))
    )
    return ScoreSummary(sides, histogram(scores), _of_pairs(scores, subsets))


def _of_pairs(
    scores: Sequence[Scores], subsets: Sequence[str] | None
) -> tuple[SubsetAccuracy, ...]:
    if subsets is None:
        return ()
    pairs = [
        (better, worse, subset)
        for better, worse, subset in zip(scores[0], scores[1], subsets, strict=True)
        if better is not None and worse is not None
    ]
    if not pairs:
        return ()
    chosen, rejected, names = zip(*pairs, strict=True)
    return tuple(accuracies(chosen, rejected, names))


def _side_json(side: SideFigures) -> dict[str, Any]:
    figures = side.spread
    return {
        "name": side.name,
        "n": figures.n,
        "mean": None if isinstance(figures.mean, Undefined) else figures.mean,
        "std": None if isinstance(figures.std, Undefined) else figures.std,
        "lowest": figures.low,
        "highest": figures.high,
        "share_over_threshold": measure_json(figures.over),
        "change": None if side.change is None else measure_json(side.change),
    }


def spread(scores: Scores, threshold: float | None = None) -> Spread:
    """Return mean, sample standard deviation, range, and the share above a threshold.

    Raises:
        Invalid: a score is not a finite number.
    """
    known = [score for score in scores if score is not None]
    for score in known:
        if not isfinite(score):
            raise Invalid(f"a score must be a finite number, not {score}")
    if not known:
        nothing = "nothing was scored"
        return Spread(
            0, Undefined(nothing), Undefined(nothing), None, None, Measure.missing(nothing)
        )
    over = (
        Measure.missing("no threshold is set", len(known))
        if threshold is None
        else measures.share(
            sum(score > threshold for score in known), len(known), "nothing was scored"
        )
    )
    std = stdev(known) if len(known) > 1 else Undefined("one response has no spread")
    return Spread(len(known), fmean(known), std, min(known), max(known), over)


def difference(before: Scores, after: Scores) -> Measure:
    """Return the mean of after minus before over prompts that both respond to.

    The interval is Student's t of the paired differences, one per prompt.

    Raises:
        Invalid: the sides have unequal numbers of prompts.
    """
    if len(before) != len(after):
        raise Invalid(f"sides must have the same prompts, not {len(before)} and {len(after)}")
    changes = [b - a for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    if not changes:
        return Measure.missing("the sides have no prompt in common")
    mean, n = fmean(changes), len(changes)
    if n < 2:
        return Measure(mean, Undefined("one prompt gives no interval"), n)
    half = student.quantile((1 + LEVEL) / 2, n - 1) * stdev(changes) / sqrt(n)
    return Measure(mean, Interval(mean - half, mean + half), n)


def histogram(sides: Sequence[Scores], bins: int = BINS) -> Histogram:
    """Count each side's scores in bins from the lowest to the highest score of all."""
    known = [[score for score in side if score is not None] for side in sides]
    every = [score for side in known for score in side]
    if not every:
        return Histogram((), tuple(() for _ in sides))
    low, high = min(every), max(every)
    width = (high - low) / bins or 1.0
    counts = [[0] * bins for _ in sides]
    for row, scores in zip(counts, known, strict=True):
        for score in scores:
            row[min(int((score - low) / width), bins - 1)] += 1
    edges = tuple(low + width * number for number in range(bins + 1))
    return Histogram(edges, tuple(map(tuple, counts)))


def accuracies(
    chosen: Sequence[float], rejected: Sequence[float], subsets: Sequence[str]
) -> list[SubsetAccuracy]:
    """Return the accuracy over all pairs, named OVERALL, and then by subset in order of names."""
    by_subset: dict[str, list[float]] = {}
    for better, worse, subset in zip(chosen, rejected, subsets, strict=True):
        by_subset.setdefault(subset, []).append((better > worse) + 0.5 * (better == worse))
    named = {name: by_subset[name] for name in sorted(by_subset) if name != OVERALL}
    every = [share for shares in by_subset.values() for share in shares]
    return [_accuracy(name, shares) for name, shares in ({OVERALL: every} | named).items()]


def _accuracy(subset: str, shares: Sequence[float]) -> SubsetAccuracy:
    accuracy = measures.share(fsum(shares), len(shares), "no pair was scored")
    return SubsetAccuracy(subset, accuracy, sum(share == 0.5 for share in shares))


def worst_first(scores: Scores, *, is_high_bad: bool) -> list[int]:
    """Return the numbers of the scored rows, the worst first; rows of equal scores keep order."""
    known = [(score, number) for number, score in enumerate(scores) if score is not None]
    sign = -1.0 if is_high_bad else 1.0
    return [number for score, number in sorted(known, key=lambda row: (sign * row[0], row[1]))]


def measure_json(measure: Measure) -> Mapping[str, float | int | str | None]:
    """Return a measure as plain values, with the reason where there is no number."""
    value, interval = measure.value, measure.interval
    missing = value if isinstance(value, Undefined) else interval
    return {
        "value": None if isinstance(value, Undefined) else value,
        "low": interval.low if isinstance(interval, Interval) else None,
        "high": interval.high if isinstance(interval, Interval) else None,
        "n": measure.n,
        "reason": missing.reason if isinstance(missing, Undefined) else None,
    }

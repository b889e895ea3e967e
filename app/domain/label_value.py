"""What more judgments would bring: a learning curve from sub-samples, and a forecast.

A reward model is fitted to nested sub-samples of its comparisons, and each fit is measured on the
same held-out votes. The curve is a power law that levels off, accuracy(n) = a - b / sqrt(n): over
the few doublings that a project can look back on, other exponents are not told from this one, and
the forecast is a weighted sum of the measured accuracies. That makes its interval simple: it is the
jackknife's over prompts for the same weighted sum of each prompt's hits, widened by the scatter of
the fits around the curve.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from app.domain import jackknife
from app.domain.krippendorff import Array, Indices
from app.domain.measures import Interval, Undefined
from app.errors import Invalid

SHARES = (0.125, 0.25, 0.5, 1.0)
"""The sub-samples, as shares of the comparisons; the last one is the model itself."""

COMPARISONS_LEAST = 64
"""Comparisons from which the smallest sub-sample is worth a fit."""

MORE = 500
"""Comparisons whose worth is told."""

DEVIATIONS = 2.0
"""Standard deviations of the fits around the curve by which a forecast is widened."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Accuracy on held-out votes with a number of comparisons, and its interval if it has one."""

    comparisons: int
    accuracy: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class LabelValue:
    """The measured points, oldest first, and forecasts for more comparisons."""

    measured: tuple[CurvePoint, ...]
    doubled: CurvePoint
    more: CurvePoint

    @property
    def gain(self) -> float:
        """What `MORE` comparisons are expected to add to the accuracy."""
        return self.more.accuracy - self.measured[-1].accuracy

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the metrics of a model."""
        return asdict(self)


def sizes(comparisons: int) -> tuple[int, ...]:
    """Return the sizes of the sub-samples; none if there are too few comparisons."""
    if comparisons < COMPARISONS_LEAST:
        return ()
    return tuple(round(share * comparisons) for share in SHARES)


def fit(counts: Sequence[int], hits: Array, prompts: Indices) -> LabelValue:
    """Fit the curve and forecast.

    Args:
        counts: comparisons of each fit, ascending, shape (m,).
        hits: share of each held-out comparison's votes that each fit predicts, shape (m, h).
        prompts: the prompt of each held-out comparison, numbered from 0, shape (h,).

    Raises:
        Invalid: there are fewer than three fits, or nothing is held out.
    """
    if len(counts) < 3 or hits.shape[1] == 0:
        raise Invalid(
            f"a curve needs three fits and held-out votes, not {len(counts)} and {hits.shape[1]}"
        )
    measured = [_point(count, row, prompts) for count, row in zip(counts, hits, strict=True)]
    return LabelValue(
        tuple(measured),
        _forecast(counts, hits, prompts, 2 * counts[-1]),
        _forecast(counts, hits, prompts, counts[-1] + MORE),
    )


def _point(count: int, hits: Array, prompts: Indices) -> CurvePoint:
    measure = jackknife.share(hits, prompts)
    low, high = _bounds(measure.interval)
    return CurvePoint(count, float(hits.mean()), low, high)


def _forecast(counts: Sequence[int], hits: Array, prompts: Indices, count: int) -> CurvePoint:
    design = np.stack([np.ones(len(counts)), 1 / np.sqrt(counts)], axis=1)
    inverse = np.linalg.pinv(design)
    at = np.array([1.0, 1 / sqrt(count)])
    weights = at @ inverse  # of the measured accuracies
    measure = jackknife.mean(weights @ hits, prompts)
    value = float((weights @ hits).mean())
    accuracies = hits.mean(axis=1)
    scatter = accuracies - design @ (inverse @ accuracies)
    residual = sqrt(float(scatter @ scatter) / (len(counts) - 2))
    widening = DEVIATIONS * residual * sqrt(float(weights @ weights))
    low, _ = _bounds(measure.interval)
    reach = value - low if low is not None else 0.0
    half = sqrt(reach**2 + widening**2)
    return CurvePoint(count, min(value, 1.0), max(value - half, 0.0), min(value + half, 1.0))


def _bounds(interval: Interval | Undefined) -> tuple[float | None, float | None]:
    if isinstance(interval, Undefined):
        return None, None
    return interval.low, interval.high

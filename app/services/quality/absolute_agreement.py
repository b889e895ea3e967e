"""Agreement on completions one by one: ratings on criteria, and thumbs.

A completion of a comparison is what is judged; comparisons are what is resampled. People who write
or make better have nothing to agree on.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain import agreement
from app.domain.agreement import Rating, RatingReport
from app.domain.alpha import Metric
from app.domain.measures import Measure

RESAMPLES = 200
FREE = "People write freely: there is nothing to agree on."
STEPS = 2  # to which parts of a point a mean rating is rounded


class AbsoluteJudgment(Protocol):
    """A judgment as far as completions by themselves go."""

    @property
    def comparison_id(self) -> int:
        """What was judged."""

    @property
    def labeler(self) -> str:
        """Who judged."""

    @property
    def ratings(self) -> Mapping[str, Sequence[int]] | None:
        """The rating of each canonical position, by criterion."""

    @property
    def thumb(self) -> str | None:
        """Up or down."""


@dataclass(frozen=True, slots=True)
class AbsoluteReport:
    """Agreement on ratings, by criterion and on their weighted mean, and on thumbs.

    The mean is rounded to half points; it is None with fewer than two criteria. `labelers` says how
    often each agrees with the others, themself left out: within one point, or on the same thumb.
    """

    criteria: tuple[tuple[str, RatingReport], ...]
    mean: RatingReport | None
    thumbs: RatingReport | None
    labelers: tuple[tuple[str, Measure], ...]


def report(said: Iterable[AbsoluteJudgment], weights: Mapping[str, float]) -> AbsoluteReport:
    """Measure agreement on ratings and on thumbs; the cost grows with the number of judgments."""
    rated: defaultdict[str, list[Rating]] = defaultdict(list)
    means: list[Rating] = []
    thumbs: list[Rating] = []
    for one in said:
        if one.ratings:
            for name, values in one.ratings.items():
                rated[name].extend(_ratings(one, values))
            means.extend(_ratings(one, mean_ratings(one.ratings, weights)))
        if one.thumb is not None:
            thumbs.append(Rating(one.comparison_id, 0, one.labeler, float(one.thumb == "up")))
    return AbsoluteReport(
        tuple((name, _report(given)) for name, given in sorted(rated.items())),
        _report(means) if len(rated) > 1 and means else None,
        _report(thumbs, Metric.NOMINAL) if thumbs else None,
        _with_others(rated, thumbs),
    )


def mean_ratings(
    ratings: Mapping[str, Sequence[float]], weights: Mapping[str, float]
) -> tuple[float, ...]:
    """Return each completion's weighted mean rating, in half points; none if all weigh nothing."""
    total = sum(weights.get(name, 1.0) for name in ratings)
    if not total:
        return ()
    columns = [
        [weights.get(name, 1.0) * value for value in values] for name, values in ratings.items()
    ]
    return tuple(
        round(STEPS * sum(column) / total) / STEPS for column in zip(*columns, strict=True)
    )


def _ratings(one: AbsoluteJudgment, values: Iterable[float]) -> list[Rating]:
    return [
        Rating(one.comparison_id, at, one.labeler, float(value)) for at, value in enumerate(values)
    ]


def _report(given: Sequence[Rating], metric: Metric = Metric.ORDINAL) -> RatingReport:
    return agreement.rating_report(given, metric=metric, resamples=RESAMPLES)


def _with_others(
    rated: Mapping[str, Sequence[Rating]], thumbs: Sequence[Rating]
) -> tuple[tuple[str, Measure], ...]:
    shares: defaultdict[Hashable, defaultdict[Hashable, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for given, reach in [*((one, 1.0) for one in rated.values()), (thumbs, 0.0)]:
        for rating, share in agreement.shares_with_others(given, reach=reach):
            shares[rating.labeler][rating.comparison].append(share)
    return tuple(
        (str(labeler), agreement.mean_share(list(by_comparison.values()), resamples=RESAMPLES))
        for labeler, by_comparison in sorted(shares.items(), key=lambda item: str(item[0]))
    )

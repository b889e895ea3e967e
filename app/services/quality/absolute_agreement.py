"""Agreement on single completions: ratings on criteria, and thumbs.

The unit is one completion of a comparison; intervals are clustered by prompt. Agreement is
not defined for demonstrations and edits.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.domain import agreement, jackknife, labeler_standing
from app.domain.agreement import Rating, RatingAgreement
from app.domain.krippendorff import DistanceMetric
from app.domain.measures import Measure

FREE_TEXT = "Agreement is not defined for text that labelers write."
STEPS_PER_POINT = 2  # mean ratings are rounded to half points


class AbsoluteJudgment(Protocol):
    """The part of a judgment that concerns single completions."""

    @property
    def comparison_id(self) -> int:
        """The comparison judged."""

    @property
    def prompt_id(self) -> int | None:
        """The prompt of the comparison."""

    @property
    def labeler(self) -> str:
        """The labeler's pseudonym."""

    @property
    def ratings(self) -> Mapping[str, Sequence[int]] | None:
        """The rating of each canonical position, by criterion."""

    @property
    def thumb(self) -> str | None:
        """Up or down."""


@dataclass(frozen=True, slots=True)
class AbsoluteReport:
    """Agreement on ratings, by criterion and on their weighted mean, and on thumbs.

    The mean is rounded to half points; it is None with fewer than two criteria. `labelers` holds,
    for each labeler, how often the other labelers agree with them: a rating within one point, or
    the same thumb.
    """

    criteria: tuple[tuple[str, RatingAgreement], ...]
    mean: RatingAgreement | None
    thumbs: RatingAgreement | None
    labelers: tuple[tuple[str, Measure], ...]


def report(judgments: Iterable[AbsoluteJudgment], weights: Mapping[str, float]) -> AbsoluteReport:
    """Measure agreement on ratings and on thumbs, in time linear in the number of judgments."""
    by_criterion: defaultdict[str, list[Rating]] = defaultdict(list)
    means: list[Rating] = []
    thumbs: list[Rating] = []
    for judgment in judgments:
        if judgment.ratings:
            for name, values in judgment.ratings.items():
                by_criterion[name].extend(_ratings(judgment, values))
            means.extend(_ratings(judgment, mean_ratings(judgment.ratings, weights)))
        if judgment.thumb is not None:
            thumb = float(judgment.thumb == "up")
            thumbs.append(
                Rating(judgment.comparison_id, 0, judgment.labeler, thumb, judgment.prompt_id)
            )
    return AbsoluteReport(
        tuple((name, _report(ratings)) for name, ratings in sorted(by_criterion.items())),
        _report(means) if len(by_criterion) > 1 and means else None,
        _report(thumbs, DistanceMetric.NOMINAL) if thumbs else None,
        _with_others(by_criterion, thumbs),
    )


def contrary(judgments: Iterable[AbsoluteJudgment]) -> frozenset[str]:
    """Return the labelers who rate high what the others rate low, on all criteria and thumbs."""
    values: list[float] = []
    keys: list[tuple[str, int, int]] = []  # criterion, comparison, position
    labelers: list[str] = []
    for judgment in judgments:
        rated = {name: list(ratings) for name, ratings in (judgment.ratings or {}).items()}
        if judgment.thumb is not None:
            rated[""] = [int(judgment.thumb == "up")]
        for name, ratings in rated.items():
            values.extend(ratings)
            keys.extend((name, judgment.comparison_id, at) for at in range(len(ratings)))
            labelers.extend([judgment.labeler] * len(ratings))
    names = list(dict.fromkeys(labelers))
    flags = labeler_standing.contrary(
        np.array(values, dtype=float),
        jackknife.numbered(keys),
        jackknife.numbered(labelers),
        jackknife.numbered(comparison for _, comparison, _ in keys),
        len(names),
    )
    return frozenset(name for name, is_contrary in zip(names, flags, strict=True) if is_contrary)


def mean_ratings(
    ratings: Mapping[str, Sequence[float]], weights: Mapping[str, float]
) -> tuple[float, ...]:
    """Return each completion's weighted mean rating, in half points.

    The result is empty if all weights are zero. A negative weight counts a high rating against the
    completion, as it does in the reward.
    """
    total = sum(abs(weights.get(name, 1.0)) for name in ratings)
    if not total:
        return ()
    columns = [
        [weights.get(name, 1.0) * value for value in values] for name, values in ratings.items()
    ]
    return tuple(
        round(STEPS_PER_POINT * sum(column) / total) / STEPS_PER_POINT
        for column in zip(*columns, strict=True)
    )


def _ratings(judgment: AbsoluteJudgment, values: Iterable[float]) -> list[Rating]:
    return [
        Rating(judgment.comparison_id, position, judgment.labeler, float(value), judgment.prompt_id)
        for position, value in enumerate(values)
    ]


def _report(
    ratings: Sequence[Rating], metric: DistanceMetric = DistanceMetric.ORDINAL
) -> RatingAgreement:
    return agreement.rating_report(ratings, metric=metric)


def _with_others(
    by_criterion: Mapping[str, Sequence[Rating]], thumbs: Sequence[Rating]
) -> tuple[tuple[str, Measure], ...]:
    shares: defaultdict[Hashable, defaultdict[Hashable, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    prompts: dict[Hashable, Hashable] = {}
    for ratings, reach in [*((ratings, 1.0) for ratings in by_criterion.values()), (thumbs, 0.0)]:
        for rating, share in agreement.shares_with_others(ratings, reach=reach):
            shares[rating.labeler][rating.comparison].append(share)
            prompts[rating.comparison] = rating.cluster
    return tuple(
        (
            str(labeler),
            agreement.mean_share(
                by_comparison.values(), [prompts[comparison] for comparison in by_comparison]
            ),
        )
        for labeler, by_comparison in sorted(shares.items(), key=lambda item: str(item[0]))
    )

"""An AI judge's ratings and thumbs beside those of people, criterion by criterion."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.judges import rated_measures
from app.domain.judges.rated_measures import RatedItem, SingleMeasures, Values
from app.domain.judgment_kinds import JudgmentKind
from app.domain.krippendorff import DistanceMetric
from app.models import AiJudgment, Judgment
from app.services.quality import absolute_agreement

Ratings = Mapping[str, Values]
_UP = "up"


def measures(
    rows: Sequence[tuple[AiJudgment, int]],
    people: Mapping[int, Sequence[Judgment]],
    weights: Mapping[str, float],
) -> SingleMeasures:
    """Measure a judge on its rows, each with its prompt, against people's judgments by comparison.

    `weights` are those of the criteria.
    """
    by_criterion: defaultdict[str, list[RatedItem]] = defaultdict(list)
    means: list[RatedItem] = []
    thumbs: list[RatedItem] = []
    for row, prompt_id in rows:
        judged = people.get(row.comparison_id, ())
        if row.kind == JudgmentKind.THUMBS:
            thumbs.append(_thumb_item(row, prompt_id, judged))
        elif row.ratings:
            for name in row.ratings:
                by_criterion[name].append(_item(row, prompt_id, judged, name))
            means += _mean_item(row, prompt_id, judged, weights)
    return SingleMeasures(
        tuple((name, rated_measures.measure(items)) for name, items in by_criterion.items()),
        rated_measures.measure(means) if len(by_criterion) > 1 and means else None,
        rated_measures.measure(thumbs, metric=DistanceMetric.NOMINAL) if thumbs else None,
    )


def _item(row: AiJudgment, prompt_id: int, people: Sequence[Judgment], name: str) -> RatedItem:
    first, second = _replies(row)
    said = [(str(one.labeler_id), one.ratings or {}) for one in people]
    return RatedItem(
        row.comparison_id,
        prompt_id,
        (row.ratings or {})[name],
        first[name],
        second[name],
        [(labeler, ratings[name]) for labeler, ratings in said if name in ratings],
    )


def _mean_item(
    row: AiJudgment, prompt_id: int, people: Sequence[Judgment], weights: Mapping[str, float]
) -> list[RatedItem]:
    """Return the weighted means; none if all weights are zero. People must rate all criteria."""

    def mean(ratings: Ratings) -> Values:
        return absolute_agreement.mean_ratings({name: ratings[name] for name in own}, weights)

    own: Ratings = row.ratings or {}
    first, second = _replies(row)
    shared = [one for one in people if set(own) <= set(one.ratings or {})]
    means = [(str(one.labeler_id), mean(one.ratings or {})) for one in shared]
    if not mean(own):
        return []
    return [RatedItem(row.comparison_id, prompt_id, mean(own), mean(first), mean(second), means)]


def _thumb_item(row: AiJudgment, prompt_id: int, people: Sequence[Judgment]) -> RatedItem:
    first, second = ([_value(order["thumb"])] for order in row.orders)
    return RatedItem(
        row.comparison_id,
        prompt_id,
        [] if row.thumb is None else [_value(row.thumb)],
        first,
        second,
        [(str(one.labeler_id), [_value(one.thumb)]) for one in people if one.thumb is not None],
    )


def _replies(row: AiJudgment) -> tuple[Ratings, Ratings]:
    """Return the ratings of the first replies and of the second ones, by canonical position."""
    orders = sorted(row.orders, key=lambda order: order["order"])
    both: list[dict[str, list[float]]] = []
    for is_reversed in (False, True):
        given: list[Mapping[str, Any]] = [
            order["ratings"] for order in orders if order["is_reversed"] is is_reversed
        ]
        both.append({name: [one[name] for one in given] for name in row.ratings or {}})
    return both[0], both[1]


def _value(thumb: str) -> float:
    return float(thumb == _UP)

"""The ranking that a judgment or a settlement implies, whatever its kind."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from app.domain.ranking import Pick, Ranking, Side
from app.models import Adjudication, Judgment

PICKED: Mapping[str, Ranking | None] = {str(side): Pick(side).ranking for side in Side}
"""The ranking of each side that a labeler may pick."""
_SIDES: Mapping[int, Side] = {1: Side.A, 0: Side.TIE, -1: Side.B}


def ranking_of(
    judgment: Judgment | Adjudication, weights: Mapping[str, float] | None = None
) -> Ranking | None:
    """Return the ranking that a judgment implies, by canonical position, if it implies one."""
    ratings = getattr(judgment, "ratings", None)
    return of_values(judgment.preferred, judgment.ranking, ratings, weights or {})


def of_values(
    preferred: str | None,
    ranks: Sequence[int] | None,
    ratings: Mapping[str, Sequence[float]] | None,
    weights: Mapping[str, float],
) -> Ranking | None:
    """Return the ranking of a pick, of ranks or of ratings; None if none is given."""
    if preferred is not None:
        return PICKED[preferred]
    if ranks:
        return _ranked(tuple(ranks))
    if not ratings:
        return None
    totals = _weighted_totals(ratings, weights)
    return Ranking.of_positions([-total for total in totals]) if len(totals) > 1 else None


def side_of(preferred: str | None, ranks: Sequence[int] | None) -> str | None:
    """Return which of two completions a pick or a ranking prefers: a, b or tie; None if neither."""
    if preferred is not None or not ranks:
        return preferred
    return str(_SIDES[_ranked(tuple(ranks)).signs[0]])


@lru_cache(maxsize=4096)
def _ranked(ranks: tuple[int, ...]) -> Ranking:
    return Ranking(ranks)


def _weighted_totals(
    ratings: Mapping[str, Sequence[float]], weights: Mapping[str, float]
) -> list[float]:
    """Return the weighted sum of each completion's ratings."""
    columns = [
        [weights.get(name, 1.0) * value for value in values] for name, values in ratings.items()
    ]
    return [round(sum(column), 9) for column in zip(*columns, strict=True)]

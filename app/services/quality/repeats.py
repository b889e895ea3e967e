"""Comparisons that a labeler judged twice, and whether both judgments are the same."""

from collections import defaultdict
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, aliased

from app.db.scan import scan
from app.models import Comparison, Judgment, Purpose
from app.services.datasets.implied_rankings import of_values
from app.services.queue import counted_judgments

SameAgain = tuple[bool, int]
"""Whether a repeated judgment is the same, and the prompt."""

CHUNK = 10_000


def read(session: Session, project_id: int) -> dict[int, list[SameAgain]]:
    """Return each labeler's repeated judgments, by user id; written text cannot be compared."""
    before = aliased(Judgment)
    second, first = _answer(Judgment), _answer(before)
    query = (
        select(Judgment.id, Judgment.labeler_id, Comparison.prompt_id, *second, *first)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(
            before,
            (before.comparison_id == Comparison.origin_id)
            & (before.labeler_id == Judgment.labeler_id),
        )
        .where(
            Comparison.project_id == project_id,
            Comparison.purpose == Purpose.REPEAT,
            counted_judgments.stands(),
            counted_judgments.stands(before),
        )
        .order_by(Judgment.id)
    )
    repeats: defaultdict[int, list[SameAgain]] = defaultdict(list)
    for rows in scan(session, query, Judgment.id, size=CHUNK):
        for _id, labeler_id, prompt_id, *answers in rows:
            verdict = _verdict(*answers[: len(second)])
            if any(verdict):
                is_same = verdict == _verdict(*answers[len(second) :])
                repeats[labeler_id].append((is_same, prompt_id))
    return dict(repeats)


def _answer(judgment: Any) -> tuple[ColumnElement[Any], ...]:
    return (
        *(judgment.preferred, judgment.ranking, judgment.ratings),
        *(judgment.both_bad, judgment.thumb),
    )


def _verdict(
    preferred: Any, ranks: Any, ratings: Any, both_bad: bool, thumb: Any
) -> tuple[object, ...]:
    """Return what a repeat is compared by; ratings are compared by the ranking they imply."""
    ranking = of_values(preferred, ranks, ratings, {})
    return (None if ranking is None else ranking.ranks, both_bad, thumb)

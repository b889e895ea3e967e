"""Comparisons that a labeler judged twice, and whether both judgments are the same."""

from collections import defaultdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.models import Comparison, Judgment, Purpose
from app.services.datasets.implied_rankings import ranking_of
from app.services.queue import counted_judgments

SameAgain = tuple[bool, int]
"""Whether a repeated judgment is the same, and the prompt."""


def read(session: Session, project_id: int) -> dict[int, list[SameAgain]]:
    """Return each labeler's repeated judgments, by user id; written text cannot be compared."""
    before = aliased(Judgment)
    query = (
        select(Judgment, before, Comparison.prompt_id)
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
    for second, first, prompt_id in session.execute(query):
        verdict = _verdict(second)
        if any(verdict):
            repeats[second.labeler_id].append((verdict == _verdict(first), prompt_id))
    return dict(repeats)


def _verdict(judgment: Any) -> tuple[object, ...]:
    """Return what a repeat is compared by; ratings are compared by the ranking they imply."""
    ranking = ranking_of(judgment)
    return (None if ranking is None else ranking.ranks, judgment.both_bad, judgment.thumb)

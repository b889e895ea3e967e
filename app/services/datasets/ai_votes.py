"""Judgments of AI judges as votes of an export that asks for them; counted in every export.

Nothing else turns a judge's judgment into a vote.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judged_by import JudgedBy
from app.domain.ranking import Ranking
from app.formats.manifest import Counts
from app.models import AiJudgment, AiOutcome, Judge
from app.services.datasets import judged_comparisons
from app.services.datasets.judged_comparisons import Voted

LABELER = "ai:"
"""The beginning of a judge's name as a labeler: `ai:J1`."""


def add(
    session: Session,
    project_id: int,
    comparison_ids: Sequence[int],
    counts: Counts,
    votes: Mapping[int, list[Voted]],
    judged_by: JudgedBy,
) -> None:
    """Add judges' judgments of comparisons to their votes, or count why they are left out."""
    query = (
        select(AiJudgment, Judge.pseudonym)
        .join(Judge, Judge.id == AiJudgment.judge_id)
        .where(
            AiJudgment.project_id == project_id,
            AiJudgment.comparison_id.between(comparison_ids[0], comparison_ids[-1]),
            AiJudgment.outcome == AiOutcome.JUDGED,
        )
        .order_by(AiJudgment.id)
    )
    for row, pseudonym in session.execute(query):
        own = votes.get(row.comparison_id)
        if own is None:
            continue
        counts.judgments.considered += 1
        if judged_by.has_judges:
            own.append(_vote(row, pseudonym))
        else:
            counts.judgments.exclude(judged_comparisons.BY_AI)


def _vote(row: AiJudgment, pseudonym: str) -> Voted:
    orders: list[dict[str, Any]] = row.orders
    return Voted(
        -row.id,
        f"{LABELER}{pseudonym}",
        Ranking(tuple(row.ranking or ())),
        row.strength,
        both_bad=False,
        ratings=None,
        text=None,
        flags=(),
        comment=str(orders[0].get("explanation", "")) if orders else "",
        shown_order=(),
        guidelines_version=row.guidelines_version,
        started_at=None,
        submitted_at=row.created_at,
        active_ms=0,
        instruction_version=row.instruction_version,
        is_ai=True,
    )

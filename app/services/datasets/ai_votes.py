"""Judgments of AI judges as votes of an export that asks for them; counted in every export.

Nothing else turns a judge's judgment into a vote.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judged_by import JudgedBy
from app.domain.judges.prompts import LETTERS
from app.domain.judgment_kinds import ORDERING_KINDS
from app.formats.manifest import Counts
from app.models import AiJudgment, AiOutcome, Judge
from app.services.datasets import implied_rankings, judged_comparisons
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
    weights: Mapping[str, float],
) -> None:
    """Add judges' judgments of comparisons to their votes, or count why they are left out.

    `weights` are those of the project's criteria.
    """
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
        if not judged_by.has_judges:
            counts.judgments.exclude(judged_comparisons.BY_AI)
        elif row.ranking is None and row.ratings is None and row.thumb is None:
            counts.judgments.exclude(judged_comparisons.AI_UNDECIDED)
        else:
            own.append(_vote(row, pseudonym, weights))


def _vote(row: AiJudgment, pseudonym: str, weights: Mapping[str, float]) -> Voted:
    return Voted(
        -row.id,
        f"{LABELER}{pseudonym}",
        implied_rankings.of_values(None, row.ranking, row.ratings, weights),
        row.strength,
        both_bad=False,
        ratings=row.ratings,
        text=None,
        flags=(),
        comment=_comment(row),
        shown_order=(),
        guidelines_version=row.guidelines_version,
        started_at=None,
        submitted_at=row.created_at,
        active_ms=0,
        thumb=row.thumb,
        instruction_version=row.instruction_version,
        is_ai=True,
    )


def _comment(row: AiJudgment) -> str:
    """Return the explanation of the first request, or that about each response by its letter."""
    if row.kind in ORDERING_KINDS:
        return str(row.orders[0].get("explanation", "")) if row.orders else ""
    firsts = [order for order in row.orders if not order["is_reversed"]]
    said = [(order["order"][0], str(order.get("explanation", ""))) for order in firsts]
    return "\n".join(f"{LETTERS[at]}: {text}" if len(said) > 1 else text for at, text in said)

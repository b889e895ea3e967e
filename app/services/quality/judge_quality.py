"""How an AI judge compares with people, and whether it may therefore label alone.

People's judgments are read beside the judge's; neither is ever added to the other.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.judges import measures
from app.domain.judges.measures import LEAST_COMPARED, JudgedItem, JudgeMeasures
from app.domain.ranking import Ranking
from app.errors import Conflict
from app.models import (
    AiJudgment,
    AiOutcome,
    Comparison,
    ComparisonCompletion,
    Completion,
    Judge,
    Judgment,
    Purpose,
)
from app.services.datasets import implied_rankings
from app.services.queue import counted_judgments

COMPARED_PURPOSES = (Purpose.TRAIN, Purpose.EVALUATION)
"""Gold, practice and repeats are not compared: they are no second opinions."""


def of_judge(session: Session, judge: Judge, *, evaluation_id: int | None = None) -> JudgeMeasures:
    """Return a judge's agreement with people, order consistency and habits.

    With `evaluation_id`, only comparisons of that evaluation count.
    """
    wanted = [] if evaluation_id is None else [Comparison.evaluation_id == evaluation_id]
    rows = session.execute(
        select(AiJudgment, Comparison.prompt_id)
        .join(Comparison, Comparison.id == AiJudgment.comparison_id)
        .where(
            AiJudgment.judge_id == judge.id,
            AiJudgment.outcome == AiOutcome.JUDGED,
            Comparison.purpose.in_(COMPARED_PURPOSES),
            ~Comparison.is_withdrawn,
            *wanted,
        )
        .order_by(AiJudgment.comparison_id)
    ).all()
    mine = select(AiJudgment.comparison_id).where(AiJudgment.judge_id == judge.id)
    people = _people(session, mine)
    lengths = _lengths(session, mine)
    return measures.measure(
        [
            JudgedItem(
                prompt_id,
                Ranking(tuple(row.ranking or ())),
                row.is_consistent,
                lengths[row.comparison_id],
                first_shown(row.orders),
                tuple(people.get(row.comparison_id, ())),
            )
            for row, prompt_id in rows
        ]
    )


def first_shown(orders: Sequence[Mapping[str, Any]]) -> tuple[bool, ...]:
    """Return for each order of a pick whether what was shown first was preferred."""
    ranks = [tuple(order.get("ranks") or ()) for order in orders]
    return tuple(each == (1, 2) for each in ranks if each in ((1, 2), (2, 1)))


def count_comparable(session: Session, judge: Judge) -> int:
    """Count the judge's judgments of comparisons that people have judged, too."""
    people = select(Judgment.comparison_id).where(
        Judgment.project_id == judge.project_id, counted_judgments.fills_slot()
    )
    query = (
        select(func.count(AiJudgment.id))
        .join(Comparison, Comparison.id == AiJudgment.comparison_id)
        .where(
            AiJudgment.judge_id == judge.id,
            AiJudgment.outcome == AiOutcome.JUDGED,
            Comparison.purpose.in_(COMPARED_PURPOSES),
            ~Comparison.is_withdrawn,
            AiJudgment.comparison_id.in_(people),
        )
    )
    return session.scalar(query) or 0


def why_not_alone(session: Session, judge: Judge) -> str:
    """Return why a judge may not label or decide alone yet; empty if it may."""
    if judge.alone_at is not None:
        return ""
    compared = count_comparable(session, judge)
    if compared >= LEAST_COMPARED:
        return ""
    return (
        f"AI judge {judge.pseudonym} has been compared with people on {compared} of the "
        f"{LEAST_COMPARED} comparisons that are needed before it judges alone; compare it first, "
        "or let it judge alone with a reason"
    )


def check_alone(session: Session, judge: Judge) -> None:
    """Check that a judge may label or decide alone.

    Raises:
        Conflict: it has not been compared with people, and nobody let it.
    """
    if reason := why_not_alone(session, judge):
        raise Conflict(reason)


def _people(session: Session, comparison_ids: Any) -> dict[int, list[Ranking]]:
    query = (
        select(Judgment)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .where(Judgment.comparison_id.in_(comparison_ids), counted_judgments.counts())
        .order_by(Judgment.id)
    )
    rankings: dict[int, list[Ranking]] = defaultdict(list)
    for judgment in session.scalars(query):
        ranking = implied_rankings.ranking_of(judgment)
        if ranking is not None:
            rankings[judgment.comparison_id].append(ranking)
    return rankings


def _lengths(session: Session, comparison_ids: Any) -> dict[int, tuple[int, ...]]:
    query = (
        select(ComparisonCompletion.comparison_id, func.length(Completion.text))
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id.in_(comparison_ids))
        .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
    )
    rows = session.execute(query).all()
    return {
        comparison_id: tuple(length for _, length in group)
        for comparison_id, group in groupby(rows, key=lambda row: row[0])
    }

"""How an AI judge compares with people, and whether it may therefore label alone.

People's judgments are read beside the judge's; neither is ever added to the other.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.domain.judges import measures
from app.domain.judges.measures import (
    LEAST_COMPARED,
    JudgedItem,
    JudgeMeasures,
    RatedComparison,
)
from app.domain.judgment_kinds import ORDERING_KINDS, JudgmentKind
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
    Project,
    Purpose,
)
from app.services.datasets import implied_rankings
from app.services.project import criteria
from app.services.quality import judge_ratings
from app.services.queue import counted_judgments

COMPARED_PURPOSES = (Purpose.TRAIN, Purpose.EVALUATION)
"""Gold, practice and repeats are not compared: they are no second opinions."""


def of_judge(session: Session, judge: Judge, *, evaluation_id: int | None = None) -> JudgeMeasures:
    """Return a judge's agreement with people, order consistency and habits.

    With `evaluation_id`, only comparisons of that evaluation count.
    """
    judged = (
        select(AiJudgment, Comparison.prompt_id)
        .join(Comparison, Comparison.id == AiJudgment.comparison_id)
        .where(
            AiJudgment.judge_id == judge.id,
            AiJudgment.outcome == AiOutcome.JUDGED,
            Comparison.purpose.in_(COMPARED_PURPOSES),
            ~Comparison.is_withdrawn,
        )
    )
    if evaluation_id is not None:
        judged = judged.where(Comparison.evaluation_id == evaluation_id)
    rows = session.execute(judged.order_by(AiJudgment.comparison_id)).all()
    mine = judged.with_only_columns(AiJudgment.comparison_id).correlate(None)
    people = _people(session, mine)
    ordered, single = (
        [(row, prompt_id) for row, prompt_id in rows if (row.kind in ORDERING_KINDS) is is_ordered]
        for is_ordered in (True, False)
    )
    return measures.measure(
        _ordered(ordered, people, _lengths(session, mine)),
        [
            RatedComparison(
                prompt_id, row.is_consistent, _says(row) and row.comparison_id in people
            )
            for row, prompt_id in single
        ],
        judge_ratings.measures(single, people, criteria.weights(session, judge.project_id)),
    )


def _ordered(
    rows: Sequence[tuple[AiJudgment, int]],
    people: Mapping[int, Sequence[Judgment]],
    lengths: Mapping[int, tuple[int, ...]],
) -> list[JudgedItem]:
    """Return the picks and rankings, each with the rankings of people."""
    return [
        JudgedItem(
            prompt_id,
            Ranking(tuple(row.ranking or ())),
            row.is_consistent,
            lengths[row.comparison_id],
            first_shown(row.orders),
            tuple(
                ranking
                for judgment in people.get(row.comparison_id, ())
                if (ranking := implied_rankings.ranking_of(judgment)) is not None
            ),
        )
        for row, prompt_id in rows
    ]


def first_shown(orders: Sequence[Mapping[str, Any]]) -> tuple[bool, ...]:
    """Return for each order of a pick whether what was shown first was preferred."""
    ranks = [tuple(order.get("ranks") or ()) for order in orders]
    return tuple(each == (1, 2) for each in ranks if each in ((1, 2), (2, 1)))


def count_comparable(session: Session, judge: Judge, kind: JudgmentKind) -> int:
    """Count the judge's judgments like those of a kind on comparisons that people judged, too."""
    people = select(Judgment.comparison_id).where(
        Judgment.project_id == judge.project_id, counted_judgments.fills_slot()
    )
    query = (
        select(func.count(AiJudgment.id))
        .join(Comparison, Comparison.id == AiJudgment.comparison_id)
        .where(
            AiJudgment.judge_id == judge.id,
            AiJudgment.outcome == AiOutcome.JUDGED,
            AiJudgment.kind.in_(measured_together(kind)),
            or_(AiJudgment.kind != JudgmentKind.THUMBS, AiJudgment.thumb.is_not(None)),
            Comparison.purpose.in_(COMPARED_PURPOSES),
            ~Comparison.is_withdrawn,
            AiJudgment.comparison_id.in_(people),
        )
    )
    return session.scalar(query) or 0


def measured_together(kind: JudgmentKind) -> tuple[JudgmentKind, ...]:
    """Return the kinds whose agreement is one figure: picks and rankings, or a kind alone."""
    return ORDERING_KINDS if kind in ORDERING_KINDS else (kind,)


def why_not_alone(session: Session, judge: Judge, kind: JudgmentKind | None = None) -> str:
    """Return why a judge may not judge comparisons of a kind alone yet; empty if it may.

    The kind is the project's by default.
    """
    if judge.alone_at is not None:
        return ""
    if kind is None:
        kind = JudgmentKind(session.get_one(Project, judge.project_id).judgment_kind)
    compared = count_comparable(session, judge, kind)
    if compared >= LEAST_COMPARED:
        return ""
    what = {JudgmentKind.RATE: " to rate", JudgmentKind.THUMBS: " to give a thumb"}.get(kind, "")
    return (
        f"AI judge {judge.pseudonym} has been compared with people on {compared} of the "
        f"{LEAST_COMPARED} comparisons{what} that are needed before it judges alone; compare it "
        "first, or let it judge alone with a reason"
    )


def check_alone(session: Session, judge: Judge, kind: JudgmentKind | None = None) -> None:
    """Check that a judge may judge comparisons of a kind, by default the project's, alone.

    Raises:
        Conflict: it has not been compared with people, and nobody let it.
    """
    if reason := why_not_alone(session, judge, kind):
        raise Conflict(reason)


def _says(row: AiJudgment) -> bool:
    """Return whether there is a verdict: none on a thumb if the replies contradict each other."""
    return row.kind != JudgmentKind.THUMBS or row.thumb is not None


def _people(session: Session, comparison_ids: Any) -> dict[int, list[Judgment]]:
    query = (
        select(Judgment)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .where(Judgment.comparison_id.in_(comparison_ids), counted_judgments.counts())
        .order_by(Judgment.id)
    )
    by_comparison: dict[int, list[Judgment]] = defaultdict(list)
    for judgment in session.scalars(query):
        by_comparison[judgment.comparison_id].append(judgment)
    return by_comparison


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

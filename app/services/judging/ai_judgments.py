"""Judgments of AI judges: recorded, counted and read. They never fill a slot of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import bulk, now
from app.domain.judges.askings import JudgeVerdict
from app.domain.judgment_kinds import JudgmentKind
from app.models import AiJudgment, AiOutcome, Comparison, Judge

ERROR_MOST = 1_000
JOB_KIND = "judge"
"""The kind of the jobs that ask judges."""


@dataclass(frozen=True, slots=True)
class AskedComparison:
    """What a judge said of a comparison, or why it did not; `orders` are kept as they are."""

    comparison_id: int
    kind: JudgmentKind
    outcome: AiOutcome
    verdict: JudgeVerdict | None
    orders: Sequence[Mapping[str, Any]]
    requests: int
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    guidelines_version: int
    instruction_version: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class JudgeTotals:
    """What a judge has done so far; `unpriced` judgments have no known cost."""

    judged: int = 0
    malformed: int = 0
    refused: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    without_tokens: int = 0  # judgments for which the server did not report tokens
    cost: float = 0.0
    unpriced: int = 0

    @property
    def asked(self) -> int:
        """The comparisons that the judge was asked about."""
        return self.judged + self.malformed + self.refused

    @property
    def cost_per_hundred(self) -> float | None:
        """The mean cost of a hundred comparisons; None if nothing is known."""
        priced = self.asked - self.unpriced
        return 100 * self.cost / priced if priced else None


def record(session: Session, judge: Judge, job_id: int | None, asked: AskedComparison) -> None:
    """Store what a judge said; what it said of the comparison before, without a verdict, adds up.

    A comparison that it has judged already keeps its judgment.
    """
    moment = now(session)
    row = session.scalar(
        select(AiJudgment).where(
            AiJudgment.judge_id == judge.id, AiJudgment.comparison_id == asked.comparison_id
        )
    )
    if row is not None and row.outcome == AiOutcome.JUDGED:
        return
    if row is None:
        row = AiJudgment(
            project_id=judge.project_id,
            judge_id=judge.id,
            comparison_id=asked.comparison_id,
            requests=0,
            tokens_in=0,
            tokens_out=0,
            cost=0.0,
        )
        session.add(row)
    verdict = asked.verdict
    row.job_id, row.kind, row.outcome = job_id, asked.kind, asked.outcome
    row.error = asked.error[:ERROR_MOST]
    for name, value in columns_of(verdict).items():
        setattr(row, name, value)
    row.is_consistent = verdict is None or verdict.is_consistent
    row.orders = [dict(order) for order in asked.orders]
    row.requests += asked.requests
    row.tokens_in = _sum(row.tokens_in, asked.tokens_in)
    row.tokens_out = _sum(row.tokens_out, asked.tokens_out)
    row.cost = None if row.cost is None or asked.cost is None else row.cost + asked.cost
    row.guidelines_version = asked.guidelines_version
    row.instruction_version = asked.instruction_version
    row.created_at = moment
    session.flush()


def columns_of(verdict: JudgeVerdict | None) -> dict[str, Any]:
    """Return the columns of a verdict of any kind; those of other kinds are None."""
    empty: dict[str, Any] = dict.fromkeys(("ranking", "strength", "ratings", "thumb"))
    return empty if verdict is None else empty | verdict.to_columns()


def judged_ids(session: Session, judge_id: int, comparison_ids: Sequence[int]) -> set[int]:
    """Return those of the comparisons that the judge has judged."""
    query = select(AiJudgment.comparison_id).where(
        AiJudgment.judge_id == judge_id,
        bulk.among(session, AiJudgment.comparison_id, comparison_ids),
        AiJudgment.outcome == AiOutcome.JUDGED,
    )
    return set(session.scalars(query))


def totals(session: Session, project_id: int) -> dict[int, JudgeTotals]:
    """Return what each judge of a project has done."""
    is_unpriced = AiJudgment.cost.is_(None)
    query = (
        select(
            AiJudgment.judge_id,
            *(
                func.count().filter(AiJudgment.outcome == outcome)
                for outcome in (AiOutcome.JUDGED, AiOutcome.MALFORMED, AiOutcome.REFUSED)
            ),
            func.coalesce(func.sum(AiJudgment.requests), 0),
            func.coalesce(func.sum(AiJudgment.tokens_in), 0),
            func.coalesce(func.sum(AiJudgment.tokens_out), 0),
            func.count().filter(AiJudgment.tokens_in.is_(None)),
            func.coalesce(func.sum(AiJudgment.cost), 0.0),
            func.count().filter(is_unpriced),
        )
        .where(AiJudgment.project_id == project_id)
        .group_by(AiJudgment.judge_id)
    )
    return {
        judge_id: JudgeTotals(
            judged=judged,
            malformed=malformed,
            refused=refused,
            requests=int(requests),
            tokens_in=int(tokens_in),
            tokens_out=int(tokens_out),
            without_tokens=without_tokens,
            cost=float(cost),
            unpriced=unpriced,
        )
        for judge_id, judged, malformed, refused, requests, tokens_in, tokens_out, *rest in map(
            tuple, session.execute(query)
        )
        for without_tokens, cost, unpriced in [rest]
    }


def newest(session: Session, judge_id: int, *, limit: int, failed: bool) -> list[AiJudgment]:
    """Return a judge's newest judgments, or the newest comparisons that it did not judge."""
    is_judged = AiJudgment.outcome == AiOutcome.JUDGED
    query = (
        select(AiJudgment)
        .where(AiJudgment.judge_id == judge_id, ~is_judged if failed else is_judged)
        .order_by(AiJudgment.created_at.desc(), AiJudgment.id.desc())
        .limit(limit)
    )
    return list(session.scalars(query))


def of_comparison(session: Session, comparison_id: int) -> list[tuple[AiJudgment, Judge]]:
    """Return what judges said of a comparison, with the judges."""
    query = (
        select(AiJudgment, Judge)
        .join(Judge, Judge.id == AiJudgment.judge_id)
        .where(AiJudgment.comparison_id == comparison_id)
        .order_by(AiJudgment.id)
    )
    return [(row, judge) for row, judge in session.execute(query)]


def of_evaluation(session: Session, evaluation_id: int) -> list[AiJudgment]:
    """Return what judges said of an evaluation's comparisons; withdrawn ones do not count."""
    query = (
        select(AiJudgment)
        .join(Comparison, Comparison.id == AiJudgment.comparison_id)
        .where(Comparison.evaluation_id == evaluation_id, ~Comparison.is_withdrawn)
        .order_by(AiJudgment.id)
    )
    return list(session.scalars(query))


def _sum(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more

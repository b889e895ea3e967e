"""What AI judges say of an evaluation, whether one of them decides it or people do."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.judges.measures import JudgeMeasures
from app.domain.win_rates import EvaluationResults
from app.models import (
    AiJudgment,
    AiOutcome,
    Comparison,
    ComparisonCompletion,
    Completion,
    Evaluation,
    Judge,
)
from app.services.judging import ai_judgments, judges
from app.services.quality import judge_quality
from app.services.rounds import evaluations


@dataclass(frozen=True, slots=True)
class JudgeOpinion:
    """A judge's results of an evaluation, and its agreement with people on its comparisons.

    `unread` comparisons have no verdict: the replies could not be read, or the server refused.
    """

    judge: Judge
    results: EvaluationResults
    measures: JudgeMeasures
    unread: int
    cost: float | None
    decides: bool


@dataclass(frozen=True, slots=True)
class JudgeExplanation:
    """What a judge said of both policies' responses to a prompt; `verdict` is new, old or tie."""

    judge: str
    verdict: str
    is_consistent: bool
    texts: tuple[str, ...]


def of_evaluation(session: Session, evaluation: Evaluation) -> tuple[JudgeOpinion, ...]:
    """Return the opinion of each judge that was asked, the deciding one first."""
    by_judge: dict[int, list[AiJudgment]] = defaultdict(list)
    for row in ai_judgments.of_evaluation(session, evaluation.id):
        by_judge[row.judge_id].append(row)
    deciding = evaluation.results.get(evaluations.DECIDED_BY)
    opinions = [
        _opinion(session, evaluation, judge, by_judge[judge.id], decides=judge.id == deciding)
        for judge in judges.of_project(session, evaluation.project_id)
        if judge.id in by_judge
    ]
    return tuple(sorted(opinions, key=lambda opinion: not opinion.decides))


def explanations(session: Session, evaluation: Evaluation) -> dict[int, list[JudgeExplanation]]:
    """Return the judges' explanations by prompt."""
    names = {
        judge.id: evaluations.judge_name(judge)
        for judge in judges.of_project(session, evaluation.project_id)
    }
    query = (
        select(AiJudgment, Comparison.prompt_id, ComparisonCompletion.position)
        .join(Comparison, Comparison.id == AiJudgment.comparison_id)
        .join(ComparisonCompletion, ComparisonCompletion.comparison_id == Comparison.id)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(
            Comparison.evaluation_id == evaluation.id,
            Completion.checkpoint_id == evaluation.new_checkpoint_id,
            AiJudgment.outcome == AiOutcome.JUDGED,
        )
        .order_by(AiJudgment.id)
    )
    by_prompt: dict[int, list[JudgeExplanation]] = defaultdict(list)
    for row, prompt_id, new_position in session.execute(query):
        by_prompt[prompt_id].append(
            JudgeExplanation(
                names[row.judge_id],
                _verdict(row.ranking or (), new_position),
                row.is_consistent,
                tuple(
                    dict.fromkeys(
                        text for order in row.orders if (text := order.get("explanation"))
                    )
                ),
            )
        )
    return by_prompt


def _opinion(
    session: Session,
    evaluation: Evaluation,
    judge: Judge,
    rows: Sequence[AiJudgment],
    *,
    decides: bool,
) -> JudgeOpinion:
    costs = [row.cost for row in rows]
    return JudgeOpinion(
        judge,
        evaluations.by_judge(session, evaluation, judge),
        judge_quality.of_judge(session, judge, evaluation_id=evaluation.id),
        sum(row.outcome != AiOutcome.JUDGED for row in rows),
        None if None in costs else sum(cost or 0.0 for cost in costs),
        decides,
    )


def _verdict(ranks: Sequence[int], new_position: int) -> str:
    if len(set(ranks)) < 2:
        return "tie"
    return "new" if ranks[new_position] == 1 else "old"

"""Evaluations of a new policy against the old: blind comparisons in the labelers' queue.

Labelers see two completions and not which policy wrote them; they rank them in projects where they
rank, and otherwise pick one. Identical completions count as ties
and are not shown to anyone. The arbiter is the round's reward model; its verdict is reported
together with its agreement with the labelers on the same completions.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import bulk, now
from app.domain import win_rates
from app.domain.win_rates import BlindComparison, EvaluationResults
from app.errors import NotFound
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Evaluation,
    Judge,
    Judgment,
    Prompt,
    Purpose,
    Round,
)
from app.services.datasets import implied_rankings
from app.services.judging import ai_judgments
from app.services.project import prompt_search
from app.services.project.prompt_search import NO_CATEGORY
from app.services.queue import counted_judgments

RUNNING, COMPLETE = "running", "complete"
POSITION = {"a": 0, "b": 1}
DECIDED_BY = "decided_by"
"""The key in an evaluation's results of the AI judge that decides it in the place of people."""
INITIAL = "initial"
"""The key in an evaluation's results of the initial model, if it is neither of the two policies."""

_Said = tuple[str | None, bool]


@dataclass(frozen=True, slots=True)
class CategoryResults:
    """The results on the prompts of one category."""

    name: str
    results: EvaluationResults


def open_evaluation(session: Session, round_: Round, new_id: int, old_id: int) -> Evaluation:
    """Return the round's evaluation of two checkpoints; create it on the first call."""
    existing = of_round(session, round_.id)
    if existing is not None:
        return existing
    evaluation = Evaluation(
        project_id=round_.project_id,
        round_id=round_.id,
        new_checkpoint_id=new_id,
        old_checkpoint_id=old_id,
        results={},
        created_at=now(session),
    )
    session.add(evaluation)
    session.flush()
    return evaluation


def of_round(session: Session, round_id: int) -> Evaluation | None:
    """Return the evaluation of a round, if it has one."""
    return session.scalar(select(Evaluation).where(Evaluation.round_id == round_id))


def of_project(session: Session, project_id: int) -> list[Evaluation]:
    """Return the project's evaluations, newest first."""
    query = select(Evaluation).where(Evaluation.project_id == project_id)
    return list(session.scalars(query.order_by(Evaluation.id.desc())))


def get(session: Session, project_id: int, evaluation_id: int) -> Evaluation:
    """Return an evaluation of the project.

    Raises:
        NotFound: the project has no such evaluation.
    """
    evaluation = session.get(Evaluation, evaluation_id)
    if evaluation is None or evaluation.project_id != project_id:
        raise NotFound(f"there is no evaluation {evaluation_id} in this project")
    return evaluation


def is_judged(session: Session, evaluation_id: int) -> bool:
    """Whether every comparison has the judgments it needs; true also without comparisons."""
    waiting = session.scalar(
        select(func.count()).where(
            Comparison.evaluation_id == evaluation_id,
            Comparison.is_withdrawn.is_(False),
            Comparison.done_slots < Comparison.overlap,
        )
    )
    return not waiting


def record_scores(
    session: Session,
    evaluation: Evaluation,
    *,
    arbiter: str,
    scores: Mapping[int, float],
    identical: Sequence[int],
    lengths: Mapping[str, float],
    notes: Mapping[str, Any],
) -> None:
    """Store the arbiter's score of each completion, the prompts that tie, and mean lengths."""
    evaluation.results = {
        **evaluation.results,
        "arbiter": arbiter,
        "scores": {str(key): value for key, value in scores.items()},
        "identical_prompts": list(identical),
        "lengths": dict(lengths),
        **notes,
    }
    session.flush()


def complete(session: Session, evaluation: Evaluation) -> None:
    """Complete the evaluation with its current results; does nothing if it is complete already."""
    if evaluation.state == COMPLETE:
        return
    summary = results(session, evaluation).to_json()
    evaluation.results = {**evaluation.results, "summary": summary}
    evaluation.state = COMPLETE
    evaluation.completed_at = now(session)
    session.flush()


def results(
    session: Session,
    evaluation: Evaluation,
    *,
    categories: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
) -> EvaluationResults:
    """Count wins, ties and losses of the new policy, with an interval clustered by prompt.

    Withdrawn comparisons do not count, neither in a running evaluation nor in a complete one. With
    categories or tags, only prompts that have one of each count; mean lengths are then unknown.
    """
    judge = deciding_judge(session, evaluation)
    comparisons = _comparisons(session, evaluation, judge.id if judge else None)
    if not (categories or tags):
        return _results(evaluation, comparisons, decided_by=judge_name(judge))
    ids = _prompt_ids(comparisons, _identical(evaluation))
    kept = _labelled(session, evaluation.project_id, ids, categories, tags)
    return _results(evaluation, comparisons, kept, decided_by=judge_name(judge))


def by_category(session: Session, evaluation: Evaluation) -> tuple[CategoryResults, ...]:
    """Return the results for each category of the prompts; none if there are fewer than two."""
    judge = deciding_judge(session, evaluation)
    comparisons = _comparisons(session, evaluation, judge.id if judge else None)
    query = select(Prompt.id, Prompt.category).where(
        bulk.among(session, Prompt.id, _prompt_ids(comparisons, _identical(evaluation)))
    )
    ids: dict[str, set[int]] = defaultdict(set)
    for row in session.execute(query):
        ids[row.category or NO_CATEGORY].add(row.id)
    if len(ids) < 2:
        return ()
    return tuple(
        CategoryResults(name, _results(evaluation, comparisons, ids[name])) for name in sorted(ids)
    )


def _results(
    evaluation: Evaluation,
    comparisons: Sequence[BlindComparison],
    prompt_ids: Set[int] | None = None,
    *,
    decided_by: str = "",
) -> EvaluationResults:
    recorded = evaluation.results
    identical, lengths = _identical(evaluation), recorded.get("lengths", {})
    if prompt_ids is not None:
        comparisons = [each for each in comparisons if each.prompt_id in prompt_ids]
        identical = [prompt_id for prompt_id in identical if prompt_id in prompt_ids]
        lengths = {}
    return win_rates.results(
        comparisons,
        identical,
        arbiter=recorded.get("arbiter", ""),
        scores=recorded.get("scores", {}),
        lengths=lengths,
        decided_by=decided_by,
    )


def _identical(evaluation: Evaluation) -> list[int]:
    """Return the prompts that both policies gave the same completion."""
    return list(evaluation.results.get("identical_prompts", []))


def _prompt_ids(comparisons: Sequence[BlindComparison], identical: Sequence[int]) -> set[int]:
    return {comparison.prompt_id for comparison in comparisons} | set(identical)


def _labelled(
    session: Session,
    project_id: int,
    prompt_ids: set[int],
    categories: tuple[str, ...],
    tags: tuple[str, ...],
) -> set[int]:
    labels = prompt_search.is_labelled(project_id, categories, tags)
    among = bulk.among(session, Prompt.id, prompt_ids)
    return set(session.scalars(select(Prompt.id).where(among, *labels)))


def deciding_judge(session: Session, evaluation: Evaluation) -> Judge | None:
    """Return the AI judge that decides an evaluation; None if people do."""
    judge_id = evaluation.results.get(DECIDED_BY)
    return None if judge_id is None else session.get_one(Judge, judge_id)


def by_judge(session: Session, evaluation: Evaluation, judge: Judge) -> EvaluationResults:
    """Return the results as an AI judge sees them, whoever decides."""
    comparisons = _comparisons(session, evaluation, judge.id)
    return _results(evaluation, comparisons, decided_by=judge_name(judge))


def judge_name(judge: Judge | None) -> str:
    """Return how results name a judge; empty for people."""
    return "" if judge is None else f"{judge.name} ({judge.pseudonym})"


def _comparisons(
    session: Session, evaluation: Evaluation, judge_id: int | None
) -> list[BlindComparison]:
    """Return the comparisons with the votes of people, or with those of an AI judge."""
    members = session.execute(
        select(
            ComparisonCompletion.comparison_id,
            Comparison.prompt_id,
            ComparisonCompletion.position,
            Completion.id,
            Completion.checkpoint_id,
        )
        .join(Comparison, Comparison.id == ComparisonCompletion.comparison_id)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(
            Comparison.evaluation_id == evaluation.id,
            Comparison.purpose == Purpose.EVALUATION,
            ~Comparison.is_withdrawn,
        )
        .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
    ).all()
    said = (
        _judgments(session, evaluation.id)
        if judge_id is None
        else _ai_judgments(session, evaluation.id, judge_id)
    )
    return [
        _blind_comparison(list(pair), said[comparison_id], evaluation.new_checkpoint_id)
        for comparison_id, pair in groupby(members, key=lambda row: row.comparison_id)
    ]


def _blind_comparison(
    pair: Sequence[Any], said: Sequence[_Said], new_checkpoint_id: int
) -> BlindComparison:
    # Each row of the pair is a completion with its place in the comparison.
    new = next(row for row in pair if row.checkpoint_id == new_checkpoint_id)
    old = next(row for row in pair if row.checkpoint_id != new_checkpoint_id)
    votes = tuple(_vote(preferred, new.position) for preferred, _ in said if preferred is not None)
    both_bad = sum(is_both_bad for _, is_both_bad in said)
    return BlindComparison(new.prompt_id, new.id, old.id, votes, both_bad)


def _judgments(session: Session, evaluation_id: int) -> dict[int, list[_Said]]:
    query = (
        select(Judgment.comparison_id, Judgment.preferred, Judgment.ranking, Judgment.both_bad)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .where(
            Comparison.evaluation_id == evaluation_id,
            Comparison.purpose == Purpose.EVALUATION,
            counted_judgments.counts(),
        )
        .order_by(Judgment.id)
    )
    by_comparison: dict[int, list[_Said]] = defaultdict(list)
    for comparison_id, preferred, ranks, both_bad in session.execute(query):
        side = implied_rankings.side_of(preferred, ranks)
        by_comparison[comparison_id].append((side, both_bad))
    return by_comparison


def _ai_judgments(session: Session, evaluation_id: int, judge_id: int) -> dict[int, list[_Said]]:
    rows = ai_judgments.of_evaluation(session, evaluation_id)
    by_comparison: dict[int, list[_Said]] = defaultdict(list)
    for row in rows:
        if row.judge_id == judge_id and row.ranking is not None:
            side = implied_rankings.side_of(None, row.ranking)
            by_comparison[row.comparison_id].append((side, False))
    return by_comparison


def _vote(preferred: str, new_position: int) -> float:
    position = POSITION.get(preferred)
    return 0.5 if position is None else float(position == new_position)

"""Evaluations of a new policy against the old: blind comparisons in the labelers' queue.

Labelers see two completions and not which policy wrote them. Identical completions count as ties
and are not shown to anyone. The arbiter is the round's reward model; its verdict is reported
together with its agreement with the labelers on the same completions.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import bootstrap
from app.domain.measures import Measure, Undefined
from app.errors import NotFound
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Evaluation,
    Judgment,
    Prompt,
    Purpose,
    Round,
)
from app.services.project import prompt_search
from app.services.project.prompt_search import NO_CATEGORY
from app.services.queue import counted_judgments

RUNNING, COMPLETE = "running", "complete"
NOT_JUDGED = "nothing has been judged yet"
POSITION = {"a": 0, "b": 1}


@dataclass(frozen=True, slots=True)
class WinTally:
    """Votes by outcome for the new policy. A tie counts as half a win; `both_bad` is not a vote."""

    wins: int
    ties: int
    losses: int
    both_bad: int
    identical: int  # prompts with identical completions: ties without a vote


@dataclass(frozen=True, slots=True)
class ArbiterReport:
    """A reward model's verdict on the same completions, and its agreement with the labelers.

    `share` is the new policy's share of wins. `agreement` is None until a labeler has preferred one
    of the completions.
    """

    name: str
    share: float
    agreement: float | None
    compared: int


@dataclass(frozen=True, slots=True)
class EvaluationResults:
    """The new policy's share of wins with an interval by prompt, votes, arbiter and lengths."""

    tally: WinTally
    prompts: int
    judged: int
    share: float | None
    low: float | None
    high: float | None
    arbiter: ArbiterReport | None
    length_new: float | None  # mean characters
    length_old: float | None

    @property
    def at_least_as_good(self) -> float | None:
        """The share of wins and ties among all votes."""
        votes = self.tally.wins + self.tally.ties + self.tally.losses
        return (self.tally.wins + self.tally.ties) / votes if votes else None

    def to_json(self) -> dict[str, Any]:
        """Return the results as plain JSON values."""
        return asdict(self) | {"at_least_as_good": self.at_least_as_good}


@dataclass(frozen=True, slots=True)
class CategoryResults:
    """The results on the prompts of one category."""

    name: str
    results: EvaluationResults


@dataclass(frozen=True, slots=True)
class CompletionPair:
    """Both policies' completions of one prompt, with the arbiter's scores."""

    prompt: Prompt
    new: Completion
    old: Completion
    score_new: float
    score_old: float


@dataclass(frozen=True, slots=True)
class _BlindComparison:
    """One comparison of an evaluation with its votes."""

    prompt_id: int
    new_id: int  # completion ids
    old_id: int
    votes: tuple[float, ...]  # 1 for the new policy, 0 for the old, ½ for a tie
    both_bad: int


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

    With categories or tags, only on prompts that have one of each; mean lengths are then unknown.
    """
    comparisons = _comparisons(session, evaluation)
    identical = _identical(evaluation)
    if not (categories or tags):
        return _results(evaluation, comparisons, identical)
    ids = _prompt_ids(comparisons, identical)
    kept = _labelled(session, evaluation.project_id, ids, categories, tags)
    return _results(evaluation, comparisons, identical, kept)


def by_category(session: Session, evaluation: Evaluation) -> tuple[CategoryResults, ...]:
    """Return the results for each category of the prompts; none if there are fewer than two."""
    comparisons = _comparisons(session, evaluation)
    identical = _identical(evaluation)
    query = select(Prompt.id, Prompt.category).where(
        Prompt.id.in_(_prompt_ids(comparisons, identical))
    )
    ids: dict[str, set[int]] = defaultdict(set)
    for row in session.execute(query):
        ids[row.category or NO_CATEGORY].add(row.id)
    if len(ids) < 2:
        return ()
    return tuple(
        CategoryResults(name, _results(evaluation, comparisons, identical, ids[name]))
        for name in sorted(ids)
    )


def _results(
    evaluation: Evaluation,
    comparisons: Sequence[_BlindComparison],
    identical: Sequence[int],
    prompt_ids: Set[int] | None = None,
) -> EvaluationResults:
    lengths = evaluation.results.get("lengths", {})
    if prompt_ids is not None:
        comparisons = [each for each in comparisons if each.prompt_id in prompt_ids]
        identical = [prompt_id for prompt_id in identical if prompt_id in prompt_ids]
        lengths = {}
    votes = [vote for comparison in comparisons for vote in comparison.votes]
    tally = WinTally(
        wins=votes.count(1.0),
        ties=votes.count(0.5),
        losses=votes.count(0.0),
        both_bad=sum(comparison.both_bad for comparison in comparisons),
        identical=len(identical),
    )
    measure = _share(comparisons, identical, seed=evaluation.id)
    low, high = _bounds(measure)
    return EvaluationResults(
        tally=tally,
        prompts=len({comparison.prompt_id for comparison in comparisons}) + len(identical),
        judged=len(votes),
        share=None if isinstance(measure.value, Undefined) else measure.value,
        low=low,
        high=high,
        arbiter=_arbiter(evaluation, comparisons),
        length_new=lengths.get("new"),
        length_old=lengths.get("old"),
    )


def _identical(evaluation: Evaluation) -> list[int]:
    """Return the prompts that both policies gave the same completion."""
    return list(evaluation.results.get("identical_prompts", []))


def _prompt_ids(comparisons: Sequence[_BlindComparison], identical: Sequence[int]) -> set[int]:
    return {comparison.prompt_id for comparison in comparisons} | set(identical)


def _labelled(
    session: Session,
    project_id: int,
    prompt_ids: Set[int],
    categories: tuple[str, ...],
    tags: tuple[str, ...],
) -> set[int]:
    labels = prompt_search.is_labelled(project_id, categories, tags)
    return set(session.scalars(select(Prompt.id).where(Prompt.id.in_(prompt_ids), *labels)))


def completion_pairs(session: Session, evaluation: Evaluation) -> list[CompletionPair]:
    """Return both policies' completions of every prompt that both answered, in prompt order."""
    scores: Mapping[str, float] = evaluation.results.get("scores", {})
    query = (
        select(Completion, Prompt)
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .where(Completion.id.in_([int(key) for key in scores]))
        .order_by(Prompt.id)
    )
    by_prompt: dict[int, dict[bool, Completion]] = defaultdict(dict)
    prompts: dict[int, Prompt] = {}
    for completion, prompt in session.execute(query):
        is_new = completion.checkpoint_id == evaluation.new_checkpoint_id
        prompts[prompt.id] = prompt
        by_prompt[prompt.id][is_new] = completion
    return [
        CompletionPair(
            prompts[prompt_id],
            pair[True],
            pair[False],
            scores[str(pair[True].id)],
            scores[str(pair[False].id)],
        )
        for prompt_id, pair in by_prompt.items()
        if len(pair) == 2
    ]


def _share(
    comparisons: Sequence[_BlindComparison], identical: Sequence[int], *, seed: int
) -> Measure:
    by_prompt: dict[int, list[float]] = defaultdict(list)
    for comparison in comparisons:
        by_prompt[comparison.prompt_id].extend(comparison.votes)
    shares = [sum(votes) / len(votes) for votes in by_prompt.values() if votes]
    if not shares and not identical:
        return Measure.missing(NOT_JUDGED)
    return bootstrap.share([*shares, *(0.5 for _ in identical)], seed=seed)


def _bounds(measure: Measure) -> tuple[float | None, float | None]:
    if isinstance(measure.interval, Undefined):
        return None, None
    return measure.interval.low, measure.interval.high


def _arbiter(
    evaluation: Evaluation, comparisons: Sequence[_BlindComparison]
) -> ArbiterReport | None:
    scores: Mapping[str, float] = evaluation.results.get("scores", {})
    gaps = [
        (comparison, scores[str(comparison.new_id)] - scores[str(comparison.old_id)])
        for comparison in comparisons
        if str(comparison.new_id) in scores and str(comparison.old_id) in scores
    ]
    if not gaps:
        return None
    agreements = [
        float((gap > 0) == (vote == 1.0))
        for comparison, gap in gaps
        for vote in comparison.votes
        if vote != 0.5 and gap != 0
    ]
    return ArbiterReport(
        name=evaluation.results.get("arbiter", ""),
        share=sum(_won(gap) for _, gap in gaps) / len(gaps),
        agreement=sum(agreements) / len(agreements) if agreements else None,
        compared=len(agreements),
    )


def _won(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def _comparisons(session: Session, evaluation: Evaluation) -> list[_BlindComparison]:
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
    judgments = _judgments(session, evaluation.id)
    return [
        _blind_comparison(list(pair), judgments[comparison_id], evaluation.new_checkpoint_id)
        for comparison_id, pair in groupby(members, key=lambda row: row.comparison_id)
    ]


def _blind_comparison(
    pair: Sequence[Any], judgments: Sequence[Judgment], new_checkpoint_id: int
) -> _BlindComparison:
    # Each row of the pair is a completion with its place in the comparison.
    new = next(row for row in pair if row.checkpoint_id == new_checkpoint_id)
    old = next(row for row in pair if row.checkpoint_id != new_checkpoint_id)
    votes = tuple(
        _vote(judgment.preferred, new.position)
        for judgment in judgments
        if judgment.preferred is not None
    )
    both_bad = sum(judgment.both_bad for judgment in judgments)
    return _BlindComparison(new.prompt_id, new.id, old.id, votes, both_bad)


def _judgments(session: Session, evaluation_id: int) -> dict[int, list[Judgment]]:
    query = (
        select(Judgment)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .where(
            Comparison.evaluation_id == evaluation_id,
            Comparison.purpose == Purpose.EVALUATION,
            counted_judgments.counts(),
        )
        .order_by(Judgment.id)
    )
    by_comparison: dict[int, list[Judgment]] = defaultdict(list)
    for judgment in session.scalars(query):
        by_comparison[judgment.comparison_id].append(judgment)
    return by_comparison


def _vote(preferred: str, new_position: int) -> float:
    position = POSITION.get(preferred)
    return 0.5 if position is None else float(position == new_position)

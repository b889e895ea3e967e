"""Fresh votes: people compare a policy in training with its reference, on held-out prompts.

The comparisons are blind, and mixed into the queue like those of an evaluation, as picks, or as
rankings of two where labelers rank. They are never
trained on or exported, and are no part of the round's agreement or evaluation. A job that is killed
and resumes finds what it has asked by natural keys. Once the training is over, those that lack a
judgment are withdrawn; a labeler who holds one can still submit it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.judgment_kinds import JudgmentKind, of_blind_pairs
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    FreshComparison,
    Judgment,
    Project,
    Purpose,
    Round,
)
from app.models.prompts import FRESH_KEYS
from app.services.datasets import implied_rankings
from app.services.queue import comparisons, counted_judgments
from app.services.rounds.evaluations import POSITION

PRIORITY = 10  # a training does not wait


@dataclass(frozen=True, slots=True)
class FreshResponse:
    """A response that is compared: the shown text, the turns before it, and its origin."""

    text: str
    token_ids: tuple[int, ...]
    is_finished: bool
    logprob_sum: float


@dataclass(frozen=True, slots=True)
class FreshQuestion:
    """A held-out prompt with a response of the policy and one of the reference."""

    prompt_id: int
    earlier: Sequence[Mapping[str, Any]]
    policy: FreshResponse
    reference: FreshResponse


@dataclass(frozen=True, slots=True)
class FreshOrigin:
    """Where the pairs of a step come from: the job and its step, and what is kept with them."""

    job_id: int
    step: int
    reference: str  # the name of the reference
    sampling: Mapping[str, Any]
    instruction_version: int


@dataclass(frozen=True, slots=True)
class FreshJudgment:
    """What a labeler said: 1 for the policy, 0 for the reference, ½ for neither."""

    step: int
    prompt_id: int
    vote: float


def ask(
    session: Session, round_: Round, origin: FreshOrigin, questions: Sequence[FreshQuestion]
) -> int:
    """Put pairs into the queue; return how many, with those that were put in before."""
    project = session.get_one(Project, round_.project_id)
    for question in questions:
        key = f"fresh-{origin.job_id}-step-{origin.step}-prompt-{question.prompt_id}"
        known = select(Comparison.id).where(
            Comparison.project_id == project.id, Comparison.natural_key == key
        )
        if session.scalar(known) is None:
            _ask(session, project, round_, origin, question, key)
    return len(questions)


def votes(session: Session, job_id: int) -> list[FreshJudgment]:
    """Return the votes that count on a job's pairs; “both bad” is not a vote."""
    query = (
        select(
            FreshComparison.step,
            Comparison.prompt_id,
            Judgment.preferred,
            Judgment.ranking,
            ComparisonCompletion.position,
        )
        .join(Comparison, Comparison.id == FreshComparison.comparison_id)
        .join(Judgment, Judgment.comparison_id == Comparison.id)
        .join(
            ComparisonCompletion,
            (ComparisonCompletion.comparison_id == Comparison.id)
            & (ComparisonCompletion.completion_id == FreshComparison.policy_completion_id),
        )
        .where(
            FreshComparison.job_id == job_id,
            counted_judgments.counts(),
        )
        .order_by(FreshComparison.step, Comparison.prompt_id, Judgment.id)
    )
    return [
        FreshJudgment(step, prompt_id, _vote(side, position))
        for step, prompt_id, preferred, ranks, position in session.execute(query)
        if (side := implied_rankings.side_of(preferred, ranks)) is not None
    ]


def withdraw_unanswered(session: Session, round_id: int) -> int:
    """Withdraw a round's fresh comparisons that lack a judgment; return how many."""
    query = select(Comparison.id).where(
        Comparison.round_id == round_id,
        Comparison.purpose == Purpose.FRESH,
        comparisons.is_unfinished(),
    )
    unanswered = session.scalars(query.order_by(Comparison.id)).all()
    for comparison_id in unanswered:
        comparisons.withdraw(session, comparison_id)
    session.flush()
    return len(unanswered)


def _ask(
    session: Session,
    project: Project,
    round_: Round,
    origin: FreshOrigin,
    question: FreshQuestion,
    key: str,
) -> None:
    sources = (f"round {round_.number} policy in training", origin.reference)
    responses = (question.policy, question.reference)
    rows = [
        Completion(
            project_id=project.id,
            prompt_id=question.prompt_id,
            source=source,
            source_key=f"{FRESH_KEYS}{origin.job_id}-step-{origin.step}",
            sample_index=n,
            text=response.text.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
            earlier=[dict(turn) for turn in question.earlier],
            token_ids=list(response.token_ids),
            is_finished=response.is_finished,
            finish_reason="eos" if response.is_finished else "length",
            logprob_sum=response.logprob_sum,
            sampling=dict(origin.sampling),
            instruction_version=origin.instruction_version,
            created_at=now(session),
        )
        for n, (source, response) in enumerate(zip(sources, responses, strict=True))
    ]
    session.add_all(rows)
    session.flush()
    comparison = comparisons.create(
        session,
        project,
        question.prompt_id,
        [row.id for row in rows],
        natural_key=key,
        seed=origin.job_id,
        purpose=Purpose.FRESH,
        round_id=round_.id,
        overlap=1,
        priority=PRIORITY,
        kind=of_blind_pairs(JudgmentKind(project.judgment_kind)),
    )
    session.add(
        FreshComparison(
            comparison_id=comparison.id,
            job_id=origin.job_id,
            step=origin.step,
            policy_completion_id=rows[0].id,
        )
    )
    session.flush()


def _vote(preferred: str, policy_position: int) -> float:
    position = POSITION.get(preferred)
    return 0.5 if position is None else float(position == policy_position)

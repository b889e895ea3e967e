"""Evaluations: the results of blind comparisons, and the responses that were compared."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.models import Evaluation
from app.services.rounds import completion_pairs, evaluations
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute
from app.web.row_ids import RowId

router = APIRouter(
    prefix="/api/v1/projects/{slug}/evaluations", tags=["evaluations"], route_class=GuardedRoute
)


class EvaluationOut(BaseModel):
    """A blind comparison of two policies, with its results so far."""

    id: int
    state: str
    round_id: int | None
    new_checkpoint_id: int
    old_checkpoint_id: int
    created_at: datetime
    completed_at: datetime | None
    results: dict[str, Any]
    by_category: dict[str, dict[str, Any]] = Field(
        description="The results by category of the prompts; empty with fewer than two."
    )


class AnswersOut(BaseModel):
    """The responses of both policies to one prompt, with the turns before those to a follow-up."""

    prompt_id: int
    messages: list[dict[str, Any]]
    new: str
    old: str
    earlier_new: list[dict[str, Any]] = []
    earlier_old: list[dict[str, Any]] = []
    score_new: float
    score_old: float
    initial: str | None = Field(
        description="Of the model that the new policy's KL is measured to: the SFT or base model, "
        "which may be the old policy; null if it did not respond."
    )
    score_initial: float | None
    is_withdrawn: bool = Field(description="Its comparison was withdrawn; its votes do not count.")


@router.get("")
def list_evaluations(access: LeadAccess) -> list[EvaluationOut]:
    """Return the evaluations, newest first."""
    listed = evaluations.of_project(access.session, access.project.id)
    return [_out(access.session, evaluation) for evaluation in listed]


@router.get("/{evaluation_id}")
def show(
    access: LeadAccess,
    evaluation_id: RowId,
    category: Annotated[
        Sequence[str], Query(description="Prompts of any of these; (none): without a category.")
    ] = (),
    tag: Annotated[Sequence[str], Query(description="Prompts with any of these tags.")] = (),
) -> EvaluationOut:
    """Return an evaluation with its results so far, on all prompts or on a part of them."""
    evaluation = evaluations.get(access.session, access.project.id, evaluation_id)
    return _out(access.session, evaluation, tuple(category), tuple(tag))


@router.get("/{evaluation_id}/answers")
def answers(access: LeadAccess, evaluation_id: RowId) -> list[AnswersOut]:
    """Return the responses of both policies, by prompt."""
    evaluation = evaluations.get(access.session, access.project.id, evaluation_id)
    return [
        AnswersOut(
            prompt_id=pair.prompt.id,
            messages=pair.prompt.messages,
            new=pair.new.text,
            old=pair.old.text,
            earlier_new=pair.new.earlier,
            earlier_old=pair.old.earlier,
            score_new=pair.score_new,
            score_old=pair.score_old,
            initial=pair.initial.text if pair.initial else None,
            score_initial=pair.score_initial,
            is_withdrawn=pair.is_withdrawn,
        )
        for pair in completion_pairs.of_evaluation(access.session, evaluation)
    ]


def _out(
    session: Session,
    row: Evaluation,
    categories: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
) -> EvaluationOut:
    results = evaluations.results(session, row, categories=categories, tags=tags)
    return EvaluationOut(
        id=row.id,
        state=row.state,
        round_id=row.round_id,
        new_checkpoint_id=row.new_checkpoint_id,
        old_checkpoint_id=row.old_checkpoint_id,
        created_at=row.created_at,
        completed_at=row.completed_at,
        results=results.to_json(),
        by_category={
            each.name: each.results.to_json() for each in evaluations.by_category(session, row)
        },
    )

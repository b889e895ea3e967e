"""A labeler's own judgments and skips, newest first, searched and paged."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, exists, or_, select
from sqlalchemy.orm import Session, joinedload

from app.domain.judgment_kinds import JudgmentBody, JudgmentKind
from app.domain.states import AssignmentState
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Completion,
    Judgment,
    Prompt,
)
from app.services.judging import judgment_bodies, sheets
from app.services.judging.sheets import Messages, ShownCandidate
from app.services.project import prompts


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """A judgment or a skip of one labeler."""

    assignment_id: int
    judgment_id: int | None
    state: AssignmentState
    kind: JudgmentKind
    messages: Messages
    candidates: tuple[ShownCandidate, ...]  # in the order shown
    body: JudgmentBody | None
    flags: tuple[str, ...]
    comment: str
    skip_reason: str
    revision: int
    ended_at: datetime
    is_surplus: bool
    is_retracted: bool


def page(
    session: Session,
    project_id: int,
    labeler_id: int,
    *,
    before: int | None = None,
    limit: int = 20,
    search: str = "",
) -> list[HistoryItem]:
    """Return the labeler's judgments and skips, newest first, paged by assignment.

    `search` is looked up in the prompts, the completions, the labeler's own texts and comments.
    """
    query = _own(project_id, labeler_id).order_by(Assignment.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Assignment.id < before)
    if search:
        query = query.where(_contains(session, search))
    return _items(session, query)


def item(
    session: Session, project_id: int, labeler_id: int, assignment_id: int
) -> HistoryItem | None:
    """Return one item of the labeler's history, or None if there is no such item."""
    items = _items(session, _own(project_id, labeler_id).where(Assignment.id == assignment_id))
    return items[0] if items else None


def _own(project_id: int, labeler_id: int) -> Select[Assignment]:
    return (
        select(Assignment)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.project_id == project_id,
            Assignment.ended_at.is_not(None),
        )
        .options(joinedload(Assignment.comparison).joinedload(Comparison.prompt))
    )


def _items(session: Session, query: Select[Assignment]) -> list[HistoryItem]:
    assignments = session.scalars(query).all()
    texts = _texts(session, [assignment.comparison_id for assignment in assignments])
    revisions = _revisions(session, [assignment.id for assignment in assignments])
    return [
        _item(assignment, revisions[assignment.id], texts[assignment.comparison_id])
        for assignment in assignments
    ]


def _contains(session: Session, search: str) -> ColumnElement[bool]:
    # Correlated with the labeler's own rows: a project may have a million others.
    in_prompt = exists().where(
        Comparison.id == Assignment.comparison_id,
        Prompt.id == Comparison.prompt_id,
        prompts.contains(session, Prompt.messages, search),
    )
    in_completion = exists().where(
        ComparisonCompletion.comparison_id == Assignment.comparison_id,
        Completion.id == ComparisonCompletion.completion_id,
        Completion.text.icontains(search, autoescape=True),
    )
    in_judgment = exists().where(
        Judgment.assignment_id == Assignment.id,
        Judgment.comment.icontains(search, autoescape=True)
        | Judgment.text.icontains(search, autoescape=True),
    )
    places = (in_prompt, in_completion, in_judgment)
    return or_(
        *(place.correlate(Assignment) for place in places),
        Assignment.skip_comment.icontains(search, autoescape=True),
    )


def _texts(session: Session, comparison_ids: Sequence[int]) -> dict[int, dict[int, str]]:
    """Return the texts of each comparison's completions by canonical position."""
    rows = session.execute(
        select(ComparisonCompletion.comparison_id, ComparisonCompletion.position, Completion.text)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id.in_(comparison_ids))
    )
    texts: dict[int, dict[int, str]] = {comparison_id: {} for comparison_id in comparison_ids}
    for comparison_id, position, text in rows:
        texts[comparison_id][position] = text
    return texts


def _revisions(session: Session, assignment_ids: Sequence[int]) -> defaultdict[int, list[Judgment]]:
    """Return each assignment's judgments, newest revision first."""
    by_assignment: defaultdict[int, list[Judgment]] = defaultdict(list)
    for judgment in session.scalars(
        select(Judgment)
        .where(Judgment.assignment_id.in_(assignment_ids))
        .order_by(Judgment.revision.desc())
    ):
        by_assignment[judgment.assignment_id].append(judgment)
    return by_assignment


def _item(
    assignment: Assignment, revisions: Sequence[Judgment], texts: dict[int, str]
) -> HistoryItem:
    judgment = next((row for row in revisions if not row.is_retraction), None)
    assert assignment.ended_at is not None
    return HistoryItem(
        assignment_id=assignment.id,
        judgment_id=revisions[0].id if revisions else None,
        state=AssignmentState(assignment.state),
        kind=JudgmentKind(assignment.comparison.kind),
        messages=sheets.messages_of(assignment.comparison.prompt.messages),
        candidates=sheets.in_order(texts, assignment.shown_order),
        body=judgment_bodies.body_of(judgment) if judgment else None,
        flags=tuple(judgment.flags) if judgment else (),
        comment=judgment.comment if judgment else assignment.skip_comment,
        skip_reason=assignment.skip_reason,
        revision=revisions[0].revision if revisions else 0,
        ended_at=assignment.ended_at,
        is_surplus=assignment.state == AssignmentState.SURPLUS,
        is_retracted=bool(revisions) and revisions[0].is_retraction,
    )

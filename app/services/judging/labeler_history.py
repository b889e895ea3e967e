"""A labeler's own judgments and skips, newest first, searched and paged."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from itertools import islice

from sqlalchemy import ColumnElement, Select, null, select, text
from sqlalchemy.orm import Session, joinedload

from app.domain import search_words
from app.domain.judgment_kinds import JudgmentBody, JudgmentKind
from app.domain.search_words import SearchTerm
from app.domain.states import AssignmentState
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Completion,
    Judgment,
    Project,
)
from app.services.judging import judgment_bodies, sheets
from app.services.judging.sheets import Messages, Said, ShownCandidate
from app.services.queue import comparison_words
from app.services.queue.comparison_words import SearchedRows

_IS_WORDED = text("(judgment.comment <> '' OR judgment.text IS NOT NULL)")  # as its index has it


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
    if search:
        ids = _found(session, project_id, labeler_id, search, before, limit)
        query = _own(project_id, labeler_id).where(Assignment.id.in_(ids))
    else:
        query = _own(project_id, labeler_id).limit(limit)
        if before is not None:
            query = query.where(Assignment.id < before)
    return _items(session, query.order_by(Assignment.id.desc()))


def item(
    session: Session, project_id: int, labeler_id: int, assignment_id: int
) -> HistoryItem | None:
    """Return one item of the labeler's history, or None if there is no such item."""
    items = _items(session, _own(project_id, labeler_id).where(Assignment.id == assignment_id))
    return items[0] if items else None


def _own(project_id: int, labeler_id: int) -> Select[Assignment]:
    return (
        select(Assignment)
        .where(*_conditions(project_id, labeler_id))
        .options(joinedload(Assignment.comparison).joinedload(Comparison.prompt))
    )


def _conditions(project_id: int, labeler_id: int) -> list[ColumnElement[bool]]:
    return [
        Assignment.labeler_id == labeler_id,
        Assignment.project_id == project_id,
        Assignment.ended_at.is_not(None),
    ]


def _items(session: Session, query: Select[Assignment]) -> list[HistoryItem]:
    assignments = session.scalars(query).all()
    texts = _texts(session, [assignment.comparison_id for assignment in assignments])
    projects = {assignment.project_id for assignment in assignments}  # one, or none
    marks = [session.get_one(Project, key).chat["thought_end"] for key in projects]
    thought_end = marks[0] if marks else ""
    revisions = _revisions(session, [assignment.id for assignment in assignments])
    return [
        _item(assignment, revisions[assignment.id], texts[assignment.comparison_id], thought_end)
        for assignment in assignments
    ]


def _found(
    session: Session,
    project_id: int,
    labeler_id: int,
    search: str,
    before: int | None,
    limit: int,
) -> list[int]:
    """Return the newest of the labeler's assignments that contain the words of a search."""
    terms = search_words.parse(search)
    own = (
        select(Assignment.id, Assignment.comparison_id, Comparison.prompt_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(*_conditions(project_id, labeler_id))
    )
    rows = SearchedRows(Assignment.id, own, before)
    shown = comparison_words.newest(session, project_id, rows, terms, limit=limit)
    written = _written(session, project_id, labeler_id, terms, before, limit)
    return nlargest(limit, {*shown, *written})


def _written(
    session: Session,
    project_id: int,
    labeler_id: int,
    terms: Sequence[SearchTerm],
    before: int | None,
    limit: int,
) -> Iterator[int]:
    """Yield the newest assignments in which the labeler wrote the words: a text or a comment."""
    judged = select(Judgment.assignment_id, Judgment.text, Judgment.comment).where(
        Judgment.project_id == project_id, Judgment.labeler_id == labeler_id, _IS_WORDED
    )
    skipped = select(Assignment.id, null(), Assignment.skip_comment).where(
        *_conditions(project_id, labeler_id),
        Assignment.state == AssignmentState.SKIPPED,
        Assignment.skip_comment != "",
    )
    for query, key in ((judged, Judgment.assignment_id), (skipped, Assignment.id)):
        limited = query if before is None else query.where(key < before)
        texts = session.execute(limited.order_by(key.desc()).execution_options(yield_per=500))
        found = (
            row[0]
            for row in texts
            if any(search_words.is_match(terms, body or "") for body in row[1:])
        )
        yield from islice(found, limit)


def _texts(session: Session, comparison_ids: Sequence[int]) -> dict[int, dict[int, Said]]:
    """Return what each comparison's completions say, by canonical position."""
    rows = session.execute(
        select(
            ComparisonCompletion.comparison_id,
            ComparisonCompletion.position,
            Completion.text,
            Completion.earlier,
        )
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id.in_(comparison_ids))
    )
    texts: dict[int, dict[int, Said]] = {comparison_id: {} for comparison_id in comparison_ids}
    for comparison_id, position, body, earlier in rows:
        texts[comparison_id][position] = (body, earlier)
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
    assignment: Assignment,
    revisions: Sequence[Judgment],
    texts: dict[int, Said],
    thought_end: str,
) -> HistoryItem:
    judgment = next((row for row in revisions if not row.is_retraction), None)
    assert assignment.ended_at is not None
    return HistoryItem(
        assignment_id=assignment.id,
        judgment_id=revisions[0].id if revisions else None,
        state=AssignmentState(assignment.state),
        kind=JudgmentKind(assignment.comparison.kind),
        messages=sheets.messages_of(assignment.comparison.prompt.messages),
        candidates=sheets.in_order(texts, assignment.shown_order, thought_end),
        body=judgment_bodies.body_of(judgment) if judgment else None,
        flags=tuple(judgment.flags) if judgment else (),
        comment=judgment.comment if judgment else assignment.skip_comment,
        skip_reason=assignment.skip_reason,
        revision=revisions[0].revision if revisions else 0,
        ended_at=assignment.ended_at,
        is_surplus=assignment.state == AssignmentState.SURPLUS,
        is_retracted=bool(revisions) and revisions[0].is_retraction,
    )

"""Comparisons as rows of a list, with their completions and how many judgments they have."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, select
from sqlalchemy.orm import Session

from app.domain import choosing
from app.domain.judgment_kinds import JudgmentKind
from app.models import (
    Adjudication,
    Comparison,
    ComparisonCompletion,
    Completion,
    Judgment,
    Prompt,
    Purpose,
    Round,
    Split,
)
from app.services.datasets import row_filters
from app.services.datasets.row_filters import RowPage, RowSelection
from app.services.project import prompt_search
from app.services.queue import counted_judgments

_OF_COMPARISON = (
    *("id", "prompt_id", "kind", "purpose", "overlap", "done_slots", "priority"),
    *("is_withdrawn", "evaluation_id", "created_at", "chosen"),
)


class JudgingState(StrEnum):
    """Whether a comparison has the judgments that it asks for."""

    OPEN = "open"
    JUDGED = "judged"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class CompletionInRow:
    """A completion in its canonical position; `text` only where texts are asked for."""

    position: int | None
    completion_id: int | None  # None of a text that a labeler edited
    model: str
    checkpoint_id: int | None
    text: str | None = None
    earlier: Sequence[Mapping[str, Any]] = ()  # turns before a response to a follow-up


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A comparison; `messages` only where texts are asked for.

    `why` says how a round came to ask about it, and `chosen` by which rule and worth, if by one.
    """

    id: int
    prompt_id: int
    round: int | None
    kind: JudgmentKind
    purpose: Purpose
    state: JudgingState
    split: Split
    source: str
    category: str
    tags: tuple[str, ...]
    overlap: int
    judgments: int
    priority: int
    is_settled: bool
    evaluation_id: int | None
    created_at: datetime
    completions: tuple[CompletionInRow, ...]
    messages: list[dict[str, Any]] | None = None
    chosen: dict[str, Any] | None = None
    why: str = ""


def page(
    session: Session,
    chosen: RowSelection,
    *,
    state: JudgingState | None = None,
    texts: bool = False,
    cursor: str = "",
    limit: int = row_filters.MOST,
) -> RowPage[ComparisonRow]:
    """Return comparisons in the order they were created."""
    query = (
        select(
            *(getattr(Comparison, name) for name in _OF_COMPARISON),
            *(Prompt.split, Prompt.source, Prompt.category),
            *([Prompt.messages] if texts else []),
            Round.number.label("round"),
        )
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .where(
            Comparison.project_id == chosen.project_id,
            *row_filters.of_comparisons(chosen),
            *_of_own(chosen),
            *([] if state is None else [_is_in(state)]),
            Comparison.id > row_filters.key_of(cursor),
        )
        .order_by(Comparison.id)
        .limit(limit)
    )
    found = session.execute(query).all()
    ids = [row.id for row in found]
    members = completions(session, ids, texts=texts)
    settled = _settled(session, ids)
    tags = prompt_search.tags_by_prompt(session, [row.prompt_id for row in found])
    rows = [
        _row(row, members.get(row.id, ()), tags.get(row.prompt_id, ()), row.id in settled)
        for row in found
    ]
    return RowPage(rows, str(ids[-1]) if len(ids) == limit else None)


def completions(
    session: Session, comparison_ids: Sequence[int], *, texts: bool
) -> Mapping[int, tuple[CompletionInRow, ...]]:
    """Return the completions of comparisons in canonical order."""
    query = (
        select(
            ComparisonCompletion.comparison_id,
            ComparisonCompletion.position,
            Completion.id,
            Completion.source,
            Completion.checkpoint_id,
            *([Completion.text, Completion.earlier] if texts else []),
        )
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id.in_(comparison_ids))
        .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
    )
    members: defaultdict[int, list[CompletionInRow]] = defaultdict(list)
    for comparison_id, *values in session.execute(query):
        members[comparison_id].append(CompletionInRow(*values))
    return {comparison_id: tuple(found) for comparison_id, found in members.items()}


def _of_own(chosen: RowSelection) -> list[ColumnElement[bool]]:
    asked = chosen.filter
    matching: list[ColumnElement[bool]] = []
    if asked.since is not None:
        matching.append(Comparison.created_at >= asked.since)
    if asked.until is not None:
        matching.append(Comparison.created_at < asked.until)
    judged: list[ColumnElement[bool]] = []
    if chosen.labeler_id is not None:
        judged.append(Judgment.labeler_id == chosen.labeler_id)
    if asked.version is not None:
        judged.append(Judgment.guidelines_version == asked.version)
    if judged:
        matching.append(
            exists().where(
                Judgment.comparison_id == Comparison.id,
                Judgment.project_id == chosen.project_id,
                counted_judgments.stands(),
                *judged,
            )
        )
    return matching


def _is_in(state: JudgingState) -> ColumnElement[bool]:
    if state is JudgingState.WITHDRAWN:
        return Comparison.is_withdrawn.is_(True)
    is_open = Comparison.done_slots < Comparison.overlap
    return and_(is_open if state is JudgingState.OPEN else ~is_open, ~Comparison.is_withdrawn)


def _settled(session: Session, ids: Sequence[int]) -> set[int]:
    query = select(Adjudication.comparison_id).where(
        Adjudication.comparison_id.in_(ids), Adjudication.is_current
    )
    return set(session.scalars(query))


def _state(found: Any) -> JudgingState:
    if found.is_withdrawn:
        return JudgingState.WITHDRAWN
    return JudgingState.OPEN if found.done_slots < found.overlap else JudgingState.JUDGED


def _row(
    found: Any, members: tuple[CompletionInRow, ...], tags: tuple[str, ...], is_settled: bool
) -> ComparisonRow:
    return ComparisonRow(
        id=found.id,
        prompt_id=found.prompt_id,
        round=found.round,
        kind=JudgmentKind(found.kind),
        purpose=Purpose(found.purpose),
        state=_state(found),
        split=Split(found.split),
        source=found.source,
        category=found.category,
        tags=tags,
        overlap=found.overlap,
        judgments=found.done_slots,
        priority=found.priority,
        is_settled=is_settled,
        evaluation_id=found.evaluation_id,
        created_at=found.created_at,
        completions=members,
        messages=getattr(found, "messages", None),
        chosen=found.chosen,
        why=choosing.why(found.chosen) if found.round or found.chosen else "",
    )

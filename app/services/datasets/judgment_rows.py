"""Judgments as rows of a list: every revision, with the state that says whether it counts."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from app.domain.judgment_kinds import JudgmentKind
from app.models import Comparison, Judgment, Membership, Prompt, Purpose, Round, Split
from app.services.datasets import row_filters
from app.services.datasets.row_filters import RowPage, RowSelection
from app.services.queue import counted_judgments

_OF_JUDGMENT = (
    *("id", "comparison_id", "kind", "labeler_id", "revision", "supersedes_id"),
    *("preferred", "strength", "ranking", "ratings", "both_bad", "thumb", "reasons", "text"),
    *("flags", "comment", "shown_order", "guidelines_version", "started_at", "submitted_at"),
    *("active_ms", "is_current", "is_retraction", "is_surplus"),
)


class JudgmentState(StrEnum):
    """Whether a judgment counts, and if not, why."""

    COUNTED = "counted"
    SURPLUS = "surplus"  # its slot had gone to someone else
    WITHDRAWN = "withdrawn"  # its comparison was withdrawn
    RETRACTED = "retracted"
    SUPERSEDED = "superseded"  # by a later revision


@dataclass(frozen=True, slots=True)
class JudgmentRow:
    """A revision of a judgment; positions are canonical, never those on screen.

    `preferred` is a (position 0), b or tie; `ranking` and `ratings` have an entry per position.
    """

    id: int
    comparison_id: int
    prompt_id: int
    round: int | None
    kind: JudgmentKind
    purpose: Purpose
    state: JudgmentState
    split: Split
    source: str
    category: str
    labeler: str
    revision: int
    supersedes_id: int | None
    preferred: str | None
    strength: int | None
    ranking: list[int] | None
    ratings: dict[str, list[int]] | None
    both_bad: bool
    thumb: str | None
    reasons: list[str]
    text: str | None
    flags: list[str]
    comment: str
    shown_order: list[int]
    guidelines_version: int
    started_at: datetime
    submitted_at: datetime
    active_ms: int


def page(
    session: Session,
    chosen: RowSelection,
    *,
    state: JudgmentState | None = None,
    cursor: str = "",
    limit: int = row_filters.MOST,
) -> RowPage[JudgmentRow]:
    """Return judgments in the order they were recorded."""
    member = (Membership.user_id == Judgment.labeler_id) & (
        Membership.project_id == chosen.project_id
    )
    query = (
        select(
            *(getattr(Judgment, name) for name in _OF_JUDGMENT),
            *(Comparison.prompt_id, Comparison.purpose, Comparison.is_withdrawn),
            *(Prompt.split, Prompt.source, Prompt.category),
            Round.number.label("round"),
            Membership.pseudonym,
        )
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Round, Round.id == Comparison.round_id, isouter=True)
        .join(Membership, member, isouter=True)
        .where(
            *row_filters.of_judgments(chosen),
            *([] if state is None else [is_in(state)]),
            Judgment.id > row_filters.key_of(cursor),
        )
        .order_by(Judgment.id)
        .limit(limit)
    )
    rows = [_row(found) for found in session.execute(query)]
    return RowPage(rows, str(rows[-1].id) if len(rows) == limit else None)


def is_in(state: JudgmentState) -> ColumnElement[bool]:
    """Return the condition that a judgment is in a state; the statement joins `Comparison`."""
    return {
        JudgmentState.COUNTED: counted_judgments.counts(),
        JudgmentState.SURPLUS: and_(
            # `_uncounted` repeats the condition of an index, so that it can be used.
            _uncounted(),
            Judgment.is_current,
            ~Judgment.is_retraction,
            Judgment.is_surplus,
        ),
        JudgmentState.WITHDRAWN: and_(counted_judgments.fills_slot(), Comparison.is_withdrawn),
        JudgmentState.RETRACTED: and_(_uncounted(), Judgment.is_current, Judgment.is_retraction),
        JudgmentState.SUPERSEDED: and_(_uncounted(), ~Judgment.is_current),
    }[state]


def _uncounted() -> ColumnElement[bool]:
    return ~Judgment.is_current | Judgment.is_retraction | Judgment.is_surplus


def _state(found: Any) -> JudgmentState:
    if not found.is_current:
        return JudgmentState.SUPERSEDED
    if found.is_retraction:
        return JudgmentState.RETRACTED
    if found.is_surplus:
        return JudgmentState.SURPLUS
    return JudgmentState.WITHDRAWN if found.is_withdrawn else JudgmentState.COUNTED


def _row(found: Any) -> JudgmentRow:
    return JudgmentRow(
        id=found.id,
        comparison_id=found.comparison_id,
        prompt_id=found.prompt_id,
        round=found.round,
        kind=JudgmentKind(found.kind),
        purpose=Purpose(found.purpose),
        state=_state(found),
        split=Split(found.split),
        source=found.source,
        category=found.category,
        labeler=row_filters.labeler_name(found.pseudonym, found.labeler_id),
        revision=found.revision,
        supersedes_id=found.supersedes_id,
        preferred=found.preferred,
        strength=found.strength,
        ranking=found.ranking,
        ratings=found.ratings,
        both_bad=found.both_bad,
        thumb=found.thumb,
        reasons=found.reasons,
        text=found.text,
        flags=found.flags,
        comment=found.comment,
        shown_order=found.shown_order,
        guidelines_version=found.guidelines_version,
        started_at=found.started_at,
        submitted_at=found.submitted_at,
        active_ms=found.active_ms,
    )

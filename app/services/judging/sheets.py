"""Sheets: what an assignment shows a labeler. Models, scores and other judgments stay hidden."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case, null, select
from sqlalchemy.orm import Session

from app.domain import chat_settings
from app.domain.judgment_kinds import JudgmentBody, JudgmentKind
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Completion,
    Judgment,
    Project,
    Prompt,
    Purpose,
)
from app.services.judging import judgment_bodies

Messages = tuple[tuple[str, str], ...]  # role, content
Said = tuple[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class ShownCandidate:
    """A completion as a labeler sees it: its canonical position and its text, nothing else.

    A response to a follow-up is shown with the turns that lead up to it.
    """

    position: int
    text: str
    earlier: Messages = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """An assignment as a labeler sees it, with the candidates in the order shown."""

    assignment_id: int
    comparison_id: int
    lease_token: str
    kind: JudgmentKind
    messages: Messages
    candidates: tuple[ShownCandidate, ...]
    expires_at: datetime
    previous: JudgmentBody | None  # the judgment that an undo reopened
    previous_flags: tuple[str, ...] = ()
    previous_comment: str = ""
    criteria: Mapping[str, str] = field(default_factory=dict)  # name -> help, in order
    is_practice: bool = False


def of_assignment(session: Session, assignment: Assignment) -> Sheet:
    """Return what the labeler sees of an assignment."""
    comparison, messages, texts, thought_end = _read(session, assignment.comparison_id)
    previous = _previous(session, assignment)
    return Sheet(
        assignment_id=assignment.id,
        comparison_id=comparison.id,
        lease_token=assignment.lease_token,
        kind=JudgmentKind(comparison.kind),
        messages=messages,
        candidates=in_order(texts, assignment.shown_order, thought_end),
        expires_at=assignment.expires_at,
        previous=judgment_bodies.body_of(previous) if previous else None,
        previous_flags=tuple(previous.flags) if previous else (),
        previous_comment=previous.comment if previous else "",
        criteria=judgment_bodies.criteria_of(session, comparison.project_id, comparison.kind),
        is_practice=comparison.purpose == Purpose.PRACTICE,
    )


def in_order(
    said: Mapping[int, Said] | Sequence[Said], order: Iterable[int], thought_end: str
) -> tuple[ShownCandidate, ...]:
    """Return the candidates in the order shown, without their reasoning.

    Args:
        said: each one's text, and the turns between the prompt and it, by canonical position.
        order: the positions.
        thought_end: the project's mark that ends reasoning; "" shows all.

    """
    return tuple(
        ShownCandidate(
            position,
            chat_settings.without_reasoning(said[position][0], thought_end),
            tuple(
                (role, chat_settings.without_reasoning(content, thought_end))
                for role, content in messages_of(said[position][1])
            ),
        )
        for position in order
    )


def messages_of(stored: Sequence[Mapping[str, Any]]) -> Messages:
    """Return stored turns."""
    return tuple((str(turn["role"]), str(turn["content"])) for turn in stored)


def _previous(session: Session, assignment: Assignment) -> Judgment | None:
    if assignment.ended_at is None:  # never judged yet
        return None
    return session.scalar(
        select(Judgment)
        .where(Judgment.assignment_id == assignment.id, Judgment.is_retraction.is_(False))
        .order_by(Judgment.revision.desc())
        .limit(1)
    )


_READ = (
    select(
        Comparison,
        # A long conversation comes once, not with every completion.
        case((ComparisonCompletion.position > 0, null()), else_=Prompt.messages),
        ComparisonCompletion.position,
        Completion.text,
        Completion.earlier,
        case((ComparisonCompletion.position > 0, null()), else_=Project.settings),
    )
    .join(Project, Project.id == Comparison.project_id)
    .join(Prompt, Prompt.id == Comparison.prompt_id)
    .join(ComparisonCompletion, ComparisonCompletion.comparison_id == Comparison.id, isouter=True)
    .join(Completion, Completion.id == ComparisonCompletion.completion_id, isouter=True)
    .where(Comparison.id == bindparam("id"))
    .order_by(ComparisonCompletion.position)
)


def _read(
    session: Session, comparison_id: int
) -> tuple[Comparison, Messages, dict[int, Said], str]:
    rows = session.execute(_READ, {"id": comparison_id}).all()
    texts = {row[2]: (row[3], row[4]) for row in rows if row[2] is not None}
    thought_end = str(rows[0][5].get("chat", {}).get("thought_end", ""))
    return rows[0][0], messages_of(rows[0][1]), texts, thought_end

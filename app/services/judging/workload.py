"""What there is to read about labeling work: a sheet, a queue's state, a history, progress."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session, joinedload

from app.db import now
from app.domain.answers import Body
from app.domain.assignment import QueueState
from app.domain.states import AssignmentState
from app.models import (
    Assignment,
    Comparison,
    ComparisonCompletion,
    Completion,
    Judgment,
    JudgmentKind,
    Project,
    Prompt,
    Purpose,
)
from app.services.judging import judgment_bodies
from app.services.judging.judgment_bodies import body_of
from app.services.people import accounts
from app.services.project import prompts
from app.services.queue import counted_judgments, eligibility, practice_standing

COUNTED_MOST = 200  # open ones; a labeler sees how many are left
TOTAL_MOST = 10_000
_ORDINARY = (Purpose.TRAIN, Purpose.EVALUATION)

Messages = tuple[tuple[str, str], ...]  # role, content


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completion as a labeler sees it: its canonical position and its text, nothing else."""

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """An assignment as it is put in front of a labeler, candidates in the order shown."""

    assignment_id: int
    comparison_id: int
    lease_token: str
    kind: JudgmentKind
    messages: Messages
    candidates: tuple[Candidate, ...]
    expires_at: datetime
    previous: Body | None  # what was answered before an undo
    previous_flags: tuple[str, ...] = ()
    previous_comment: str = ""
    criteria: Mapping[str, str] = field(default_factory=dict)  # name to help, in order; of a rate
    is_practice: bool = False


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """A judgment or a skip of one labeler, newest first in the list."""

    assignment_id: int
    judgment_id: int | None
    state: AssignmentState
    kind: JudgmentKind
    messages: Messages
    candidates: tuple[Candidate, ...]  # in the order shown
    body: Body | None
    flags: tuple[str, ...]
    comment: str
    skip_reason: str
    revision: int
    ended_at: datetime
    is_surplus: bool
    is_retracted: bool


def sheet(session: Session, assignment: Assignment) -> Sheet:
    """Return what the labeler sees of an assignment."""
    comparison, messages, texts = _read(session, assignment.comparison_id)
    before = None
    if assignment.ended_at is not None:
        before = session.scalar(
            select(Judgment)
            .where(Judgment.assignment_id == assignment.id, Judgment.is_retraction.is_(False))
            .order_by(Judgment.revision.desc())
            .limit(1)
        )
    return Sheet(
        assignment_id=assignment.id,
        comparison_id=comparison.id,
        lease_token=assignment.lease_token,
        kind=JudgmentKind(comparison.kind),
        messages=messages,
        candidates=tuple(Candidate(at, texts[at]) for at in assignment.shown_order),
        expires_at=assignment.expires_at,
        previous=body_of(before) if before else None,
        previous_flags=tuple(before.flags) if before else (),
        previous_comment=before.comment if before else "",
        criteria=judgment_bodies.criteria_of(session, comparison.project_id, comparison.kind),
        is_practice=comparison.purpose == Purpose.PRACTICE,
    )


def held(session: Session, project_id: int, labeler_id: int) -> Assignment | None:
    """Return the lease that the labeler would be shown; reads only."""
    return session.scalar(
        select(Assignment)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.project_id == project_id,
            Assignment.state == AssignmentState.LEASED,
        )
        .order_by(Assignment.leased_at, Assignment.id)
        .limit(1)
    )


def queue_state(session: Session, project: Project, labeler_id: int) -> QueueState:
    """Return what is left for one labeler, counted truthfully.

    Nobody counts a million comparisons each time somebody looks: while there is work, `open` and
    `total` are counted up to a bound, and say so.
    """
    mine, in_all = _own_counts(session, project.id, labeler_id)
    open_now = _count_open(session, project.id, labeler_id)
    total, is_total_exact = _count_all(session, project.id, is_needed=not open_now)
    waiting, next_free_at = _with_others(session, project.id, labeler_id)
    member = accounts.membership(session, project.id, labeler_id)
    return QueueState(
        open=open_now,
        is_open_exact=open_now < COUNTED_MOST,
        held=mine[AssignmentState.LEASED],
        judged=mine[AssignmentState.SUBMITTED] + mine[AssignmentState.SURPLUS],
        skipped=mine[AssignmentState.SKIPPED],
        total=total,
        is_total_exact=is_total_exact,
        held_in_all=in_all[AssignmentState.LEASED],
        judged_in_all=in_all[AssignmentState.SUBMITTED] + in_all[AssignmentState.SURPLUS],
        with_others=waiting,
        next_free_s=None
        if next_free_at is None
        else max((next_free_at - now(session)).total_seconds(), 0.0),
        project_is_paused=project.is_paused,
        labeler_is_paused=member is not None and member.is_paused,
        labeler_is_practising=practice_standing.is_required(session, project, member),
    )


def judged_since(
    session: Session, labeler_id: int, since: datetime, project_id: int | None = None
) -> int:
    """Return how many comparisons the labeler has judged since then, each once."""
    query = select(func.count()).where(
        Judgment.labeler_id == labeler_id,
        Judgment.submitted_at >= since,
        counted_judgments.stands(),
    )
    if project_id is not None:
        query = query.where(Judgment.project_id == project_id)
    return session.scalar(query) or 0


def history(
    session: Session,
    project_id: int,
    labeler_id: int,
    *,
    before: int | None = None,
    limit: int = 20,
    search: str = "",
) -> list[HistoryItem]:
    """Return the labeler's judgments and skips, newest first, paged by assignment.

    A search finds what the prompt, an answer, the labeler's own text or their comment holds.
    """
    query = (
        select(Assignment)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.project_id == project_id,
            Assignment.ended_at.is_not(None),
        )
        .options(joinedload(Assignment.comparison).joinedload(Comparison.prompt))
        .order_by(Assignment.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(Assignment.id < before)
    if search:
        query = query.where(_holds(session, search))
    assignments = session.scalars(query).all()
    texts = _texts(session, [assignment.comparison_id for assignment in assignments])
    newest = _newest_judgments(session, [assignment.id for assignment in assignments])
    return [
        _history_item(assignment, newest.get(assignment.id, []), texts[assignment.comparison_id])
        for assignment in assignments
    ]


def history_item(
    session: Session, project_id: int, labeler_id: int, assignment_id: int
) -> HistoryItem | None:
    """Return one entry of the labeler's history."""
    items = history(session, project_id, labeler_id, before=assignment_id + 1, limit=1)
    return items[0] if items and items[0].assignment_id == assignment_id else None


def _holds(session: Session, search: str) -> ColumnElement[bool]:
    # Looked up from the labeler's own rows: a project may hold a million others.
    in_prompt = exists().where(
        Comparison.id == Assignment.comparison_id,
        Prompt.id == Comparison.prompt_id,
        prompts.contains(session, Prompt.messages, search),
    )
    in_answer = exists().where(
        ComparisonCompletion.comparison_id == Assignment.comparison_id,
        Completion.id == ComparisonCompletion.completion_id,
        Completion.text.icontains(search, autoescape=True),
    )
    said = exists().where(
        Judgment.assignment_id == Assignment.id,
        Judgment.comment.icontains(search, autoescape=True)
        | Judgment.text.icontains(search, autoescape=True),
    )
    found = [one.correlate(Assignment) for one in (in_prompt, in_answer, said)]
    return or_(*found, Assignment.skip_comment.icontains(search, autoescape=True))


def _is_ordinary(project_id: int) -> ColumnElement[bool]:
    return and_(
        Comparison.project_id == project_id,
        Comparison.purpose.in_(_ORDINARY),
        Comparison.is_withdrawn == false(),
    )


def _own_counts(
    session: Session, project_id: int, labeler_id: int
) -> tuple[Counter[AssignmentState], Counter[AssignmentState]]:
    """Count a labeler's assignments by state: of ordinary comparisons, and of all but practice."""
    rows = session.execute(
        select(Assignment.state, Comparison.purpose, func.count())
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.project_id == project_id,
            Comparison.is_withdrawn == false(),
            Comparison.purpose != Purpose.PRACTICE,
        )
        .group_by(Assignment.state, Comparison.purpose)
    )
    ordinary, in_all = Counter[AssignmentState](), Counter[AssignmentState]()
    for state, purpose, count in rows:
        in_all[AssignmentState(state)] += count
        if purpose in _ORDINARY:
            ordinary[AssignmentState(state)] += count
    return ordinary, in_all


def _count_open(session: Session, project_id: int, labeler_id: int) -> int:
    # The lowest levels of the queue hold what this labeler is least likely to have judged.
    some = (
        select(Comparison.id)
        .where(
            Comparison.project_id == project_id,
            Comparison.purpose.in_(_ORDINARY),
            Comparison.is_open == true(),
            eligibility.may_judge(labeler_id),
        )
        .limit(COUNTED_MOST)
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(some)) or 0


def _count_all(session: Session, project_id: int, *, is_needed: bool) -> tuple[int, bool]:
    """Count the project's comparisons; beyond the bound only where a sentence needs the number."""
    ordinary = select(Comparison.id).where(_is_ordinary(project_id))
    some = ordinary if is_needed else ordinary.limit(TOTAL_MOST)
    total = session.scalar(select(func.count()).select_from(some.subquery())) or 0
    return total, is_needed or total < TOTAL_MOST


def _with_others(session: Session, project_id: int, labeler_id: int) -> tuple[int, datetime | None]:
    """Count comparisons that others hold all remaining slots of, and when the first frees."""
    row = session.execute(
        select(func.count(Comparison.id.distinct()), func.min(Assignment.expires_at))
        .join(Assignment, Assignment.comparison_id == Comparison.id)
        .where(
            Assignment.project_id == project_id,
            Assignment.state == AssignmentState.LEASED,
            Assignment.labeler_id != labeler_id,
            _is_ordinary(project_id),
            Comparison.is_open == false(),
            eligibility.may_judge(labeler_id),
        )
    ).one()
    return row[0], row[1]


_READ = (
    select(
        Comparison,
        # A long conversation comes once, not with every completion.
        case((ComparisonCompletion.position > 0, null()), else_=Prompt.messages),
        ComparisonCompletion.position,
        Completion.text,
    )
    .join(Prompt, Prompt.id == Comparison.prompt_id)
    .join(ComparisonCompletion, ComparisonCompletion.comparison_id == Comparison.id, isouter=True)
    .join(Completion, Completion.id == ComparisonCompletion.completion_id, isouter=True)
    .where(Comparison.id == bindparam("id"))
    .order_by(ComparisonCompletion.position)
)


def _read(session: Session, comparison_id: int) -> tuple[Comparison, Messages, dict[int, str]]:
    rows = session.execute(_READ, {"id": comparison_id}).all()
    texts = {position: text for _, _, position, text in rows if position is not None}
    return rows[0][0], _messages(rows[0][1]), texts


def _messages(stored: Sequence[dict[str, Any]]) -> Messages:
    return tuple((str(turn["role"]), str(turn["content"])) for turn in stored)


def _texts(session: Session, comparison_ids: Sequence[int]) -> dict[int, dict[int, str]]:
    rows = session.execute(
        select(ComparisonCompletion.comparison_id, ComparisonCompletion.position, Completion.text)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id.in_(comparison_ids))
    )
    texts: dict[int, dict[int, str]] = {comparison_id: {} for comparison_id in comparison_ids}
    for comparison_id, position, text in rows:
        texts[comparison_id][position] = text
    return texts


def _newest_judgments(session: Session, assignment_ids: Sequence[int]) -> dict[int, list[Judgment]]:
    """Return each assignment's judgments, newest revision first."""
    found: dict[int, list[Judgment]] = {}
    for judgment in session.scalars(
        select(Judgment)
        .where(Judgment.assignment_id.in_(assignment_ids))
        .order_by(Judgment.revision.desc())
    ):
        found.setdefault(judgment.assignment_id, []).append(judgment)
    return found


def _history_item(
    assignment: Assignment, judgments: Sequence[Judgment], texts: dict[int, str]
) -> HistoryItem:
    said = next((judgment for judgment in judgments if not judgment.is_retraction), None)
    assert assignment.ended_at is not None
    return HistoryItem(
        assignment_id=assignment.id,
        judgment_id=judgments[0].id if judgments else None,
        state=AssignmentState(assignment.state),
        kind=JudgmentKind(assignment.comparison.kind),
        messages=_messages(assignment.comparison.prompt.messages),
        candidates=tuple(Candidate(at, texts[at]) for at in assignment.shown_order),
        body=body_of(said) if said else None,
        flags=tuple(said.flags) if said else (),
        comment=said.comment if said else assignment.skip_comment,
        skip_reason=assignment.skip_reason,
        revision=judgments[0].revision if judgments else 0,
        ended_at=assignment.ended_at,
        is_surplus=assignment.state == AssignmentState.SURPLUS,
        is_retracted=bool(judgments) and judgments[0].is_retraction,
    )

"""Assignments as JSON, for the labeling page and for scripts alike.

What clients send is in `assignment_requests`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.domain.assignment import AHEAD, QueueState, ahead, why_empty
from app.domain.instruction_text import InstructionText, is_in
from app.domain.judgment_kinds import KINDS, JudgmentKind, Rules
from app.services.judging.labeler_history import HistoryItem
from app.services.judging.practice_runs import Feedback
from app.services.judging.sheets import Sheet
from app.services.judging.submissions import Outcome
from app.web.judgment_kinds import AnyJudgmentOut, in_words, judgment_out
from app.web.markdown import render_markdown
from app.web.render import visible_raw


class MessageOut(BaseModel):
    """A turn of the prompt."""

    role: str
    content: str
    html: str | None = None
    raw: str | None = None


class CandidateOut(BaseModel):
    """A completion with its canonical position."""

    position: int
    text: str
    html: str | None = None
    raw: str | None = None
    earlier: Annotated[
        list[MessageOut],
        Field(
            description="The turns between the prompt and a response to a follow-up: the same "
            "model's responses to the questions before, and the follow-ups."
        ),
    ] = []


class PreviousOut(BaseModel):
    """The judgment that an undo reopened."""

    answer: AnyJudgmentOut
    flags: list[str]
    comment: str


class CriterionOut(BaseModel):
    """A criterion to rate completions on."""

    name: str
    help: str


class AssignmentOut(BaseModel):
    """A leased comparison; candidates come in the order in which to show them.

    `criteria` are those of kind rate, `reasons` (by thumb, then by value) those of kind thumbs. The
    only candidate of kind edit is the text to improve; kind write has none.
    """

    id: int
    comparison_id: int
    lease_token: str
    expires_at: datetime
    kind: JudgmentKind
    instruction: str
    instruction_version: int
    messages: list[MessageOut]
    candidates: list[CandidateOut]
    strengths: list[int]
    allow_tie: bool
    allow_both_bad: bool
    criteria: list[CriterionOut]
    rating_max: int
    reasons: dict[str, dict[str, str]]
    is_practice: bool
    previous: PreviousOut | None


class QueueOut(BaseModel):
    """Your queue in this project; `reasons` explain why it is empty, if it is."""

    open: int
    is_open_exact: bool
    held: int
    judged: int
    total: int
    is_total_exact: bool
    with_others: int
    next_free_s: float | None
    today: int
    reasons: list[str]
    is_practising: Annotated[bool, Field(description="You must pass the practice first.")] = False
    ahead: Annotated[
        int, Field(description="How many comparisons you may hold ahead of the one on screen.")
    ] = AHEAD
    guidelines_version: Annotated[
        int | None, Field(description="The newest guidelines; null if there are none.")
    ] = None


class ClaimOut(BaseModel):
    """The assignments leased to you; also your queue if they are fewer than you wanted."""

    assignments: list[AssignmentOut]
    queue: QueueOut | None


class OutcomeOut(BaseModel):
    """The result of a submission."""

    judgment_id: int
    assignment_id: int
    submitted_at: datetime
    is_surplus: bool


class FeedbackOut(BaseModel):
    """Your judgment in practice beside the settled answer, also in words, and the reason."""

    is_right: bool
    answer: AnyJudgmentOut
    answer_words: str
    reason_html: str
    given: AnyJudgmentOut
    given_words: str


class ResultOut(BaseModel):
    """The result of one submission or skip; `refused` is the reason why it changed nothing."""

    assignment_id: int
    judgment_id: int | None = None
    is_surplus: bool = False
    refused: str | None = None
    is_correctable: bool = Field(
        False,
        description="Refused, but the comparison is still yours: claim it again, and correct it.",
    )
    feedback: FeedbackOut | None = Field(None, description="In practice only.")


class ExchangeOut(ClaimOut):
    """One result for each submission and skip, in the order sent, submissions first."""

    results: list[ResultOut]
    saved_at: datetime


class HistoryOut(BaseModel):
    """One of your judgments or skips."""

    assignment_id: int
    judgment_id: int | None
    state: str
    kind: JudgmentKind
    messages: list[MessageOut]
    candidates: list[CandidateOut]
    answer: AnyJudgmentOut | None
    flags: list[str]
    comment: str
    skip_reason: str
    revision: int
    ended_at: datetime
    is_surplus: bool
    is_retracted: bool


def assignment_out(
    sheet: Sheet, rules: Rules, instruction: InstructionText, *, rendered: bool = False
) -> AssignmentOut:
    """Return an assignment as its labeler may see it."""
    previous = sheet.previous and PreviousOut(
        answer=judgment_out(sheet.previous),
        flags=list(sheet.previous_flags),
        comment=sheet.previous_comment,
    )
    return AssignmentOut(
        id=sheet.assignment_id,
        comparison_id=sheet.comparison_id,
        lease_token=sheet.lease_token,
        expires_at=sheet.expires_at,
        kind=sheet.kind,
        # A prompt from an export of the project has it already; nobody needs to read it twice.
        instruction="" if is_in(sheet.messages, instruction.text) else instruction.text,
        instruction_version=instruction.version,
        messages=_messages(sheet.messages, rendered),
        candidates=[
            CandidateOut(
                position=candidate.position,
                text=candidate.text,
                html=str(render_markdown(candidate.text)) if rendered else None,
                raw=visible_raw(candidate.text) if rendered else None,
                earlier=_messages(candidate.earlier, rendered),
            )
            for candidate in sheet.candidates
        ],
        strengths=list(rules.strengths),
        allow_tie=rules.allow_tie,
        allow_both_bad=rules.allow_both_bad,
        criteria=[CriterionOut(name=name, help=help) for name, help in sheet.criteria.items()],
        rating_max=rules.rating_max,
        reasons={thumb: dict(texts) for thumb, texts in KINDS[sheet.kind].reasons.items()},
        is_practice=sheet.is_practice,
        previous=previous or None,
    )


def judged_of(state: QueueState) -> int:
    """Return the number of judged comparisons to show a labeler, gold and repeats included."""
    judged = state.judged_in_all
    return min(judged, state.total) if state.is_total_exact else judged


def queue_out(
    state: QueueState, today: int, *, median_active_ms: int | None = None, guidelines: int | None
) -> QueueOut:
    """Return a labeler's queue with sentences that explain it."""
    return QueueOut(
        open=state.open,
        is_open_exact=state.is_open_exact,
        held=state.held_in_all,
        judged=judged_of(state),
        total=state.total,
        is_total_exact=state.is_total_exact,
        with_others=state.with_others,
        next_free_s=state.next_free_s,
        today=today,
        reasons=list(why_empty(state)),
        is_practising=state.labeler_is_practising,
        ahead=ahead(median_active_ms, state.open),
        guidelines_version=guidelines,
    )


def feedback_out(feedback: Feedback) -> FeedbackOut:
    """Return feedback on a judgment in practice."""
    return FeedbackOut(
        is_right=feedback.is_right,
        answer=judgment_out(feedback.settled),
        answer_words=in_words(feedback.settled, feedback.order),
        reason_html=str(render_markdown(feedback.reason)),
        given=judgment_out(feedback.given),
        given_words=in_words(feedback.given, feedback.order),
    )


def outcome_out(outcome: Outcome) -> OutcomeOut:
    """Return the outcome of a submission."""
    return OutcomeOut(
        judgment_id=outcome.judgment_id,
        assignment_id=outcome.assignment_id,
        submitted_at=outcome.submitted_at,
        is_surplus=outcome.is_surplus,
    )


def history_out(item: HistoryItem) -> HistoryOut:
    """Return an item of a labeler's history."""
    return HistoryOut(
        assignment_id=item.assignment_id,
        judgment_id=item.judgment_id,
        state=str(item.state),
        kind=item.kind,
        messages=_messages(item.messages, rendered=False),
        candidates=[
            CandidateOut(
                position=candidate.position,
                text=candidate.text,
                earlier=_messages(candidate.earlier, rendered=False),
            )
            for candidate in item.candidates
        ],
        answer=judgment_out(item.body) if item.body else None,
        flags=list(item.flags),
        comment=item.comment,
        skip_reason=item.skip_reason,
        revision=item.revision,
        ended_at=item.ended_at,
        is_surplus=item.is_surplus,
        is_retracted=item.is_retracted,
    )


def _messages(messages: Sequence[tuple[str, str]], rendered: bool) -> list[MessageOut]:
    return [
        MessageOut(
            role=role,
            content=content,
            html=str(render_markdown(content)) if rendered else None,
            raw=visible_raw(content) if rendered else None,
        )
        for role, content in messages
    ]

"""Assignments as JSON: what the labeling page and the public API both speak."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.domain.answers import THUMB_REASONS, Rules
from app.domain.assignment import AHEAD, QueueState, why_empty
from app.models import JudgmentKind
from app.services.judging.practice_runs import Feedback
from app.services.judging.submissions import Outcome, Skip, Submission
from app.services.judging.workload import HistoryItem, Sheet
from app.web.answers import AnswerIn, AnswerOut, body_in, body_out
from app.web.render import render_markdown, visible_raw
from app.web.words import in_words

Key = Annotated[
    str,
    Field(
        min_length=8,
        max_length=64,
        description="Made by the client; the same key sent again gives the same answer.",
    ),
]
LeaseToken = Annotated[str, Field(max_length=64)]
Comment = Annotated[str, Field(max_length=10_000)]

_KEY = "nH3vQ9sXy2Lk"
_JUDGMENT = {
    "key": _KEY,
    "lease_token": "bT0uXw5mZr8c",
    "answer": {"kind": "pick", "preferred": "b", "strength": 3},
    "comment": "The second one answers the question.",
    "active_ms": 21_500,
}
_SKIP = {"key": _KEY, "lease_token": "bT0uXw5mZr8c", "reason": "not_my_field"}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class SubmissionIn(BaseModel):
    """A judgment."""

    model_config = _example(_JUDGMENT)

    key: Key
    lease_token: LeaseToken = ""
    answer: AnswerIn
    flags: Annotated[list[str], Field(max_length=8)] = []
    comment: Comment = ""
    active_ms: Annotated[int, Field(ge=0)] = 0

    def to_submission(self, assignment_id: int) -> Submission:
        """Return it for the service."""
        return Submission(
            assignment_id,
            self.lease_token,
            self.key,
            body_in(self.answer),
            tuple(self.flags),
            self.comment,
            self.active_ms,
        )


class SkipIn(BaseModel):
    """A skip with its reason."""

    model_config = _example(_SKIP)

    key: Key
    lease_token: LeaseToken
    reason: str
    comment: Comment = ""

    def to_skip(self, assignment_id: int) -> Skip:
        """Return it for the service."""
        return Skip(assignment_id, self.lease_token, self.key, self.reason, self.comment)


class SubmissionOf(SubmissionIn):
    """A judgment that names its assignment."""

    model_config = _example(_JUDGMENT | {"assignment_id": 17})

    assignment_id: int


class SkipOf(SkipIn):
    """A skip that names its assignment."""

    model_config = _example(_SKIP | {"assignment_id": 18})

    assignment_id: int


class ClaimIn(BaseModel):
    """What the client holds already, and how many assignments it wants."""

    model_config = _example({"held": [17], "count": 2})

    held: Annotated[list[int], Field(max_length=20)] = []
    count: Annotated[int, Field(ge=0, le=AHEAD + 1)] = 1
    rendered: Annotated[bool, Field(description="Add sanitised HTML and the raw view.")] = False


class ExchangeIn(ClaimIn):
    """Judgments and skips in, the next assignments out, in one transaction."""

    model_config = _example(
        {
            "submissions": [_JUDGMENT | {"assignment_id": 17}],
            "skips": [_SKIP | {"assignment_id": 18}],
            "count": 2,
        }
    )

    submissions: Annotated[list[SubmissionOf], Field(max_length=AHEAD + 1)] = []
    skips: Annotated[list[SkipOf], Field(max_length=AHEAD + 1)] = []


class KeyIn(BaseModel):
    """A client-made key."""

    model_config = _example({"key": _KEY})

    key: Key


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


class PreviousOut(BaseModel):
    """What was answered before an undo."""

    answer: AnswerOut
    flags: list[str]
    comment: str


class CriterionOut(BaseModel):
    """One thing to rate completions on."""

    name: str
    help: str


class AssignmentOut(BaseModel):
    """A leased comparison; candidates come in the order in which to show them.

    Criteria come with a rate, reasons (by thumb, then by value) with thumbs. The one candidate of
    an edit is the text to better; a write has none.
    """

    id: int
    comparison_id: int
    lease_token: str
    expires_at: datetime
    kind: JudgmentKind
    instruction: str
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
    """What is left for you; `reasons` say why there is nothing now."""

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
    is_practising: Annotated[bool, Field(description="The practice is to be passed first.")] = False


class ClaimOut(BaseModel):
    """The assignments leased to you; the queue's state when you got fewer than you wanted."""

    assignments: list[AssignmentOut]
    queue: QueueOut | None


class OutcomeOut(BaseModel):
    """What became of a submission."""

    judgment_id: int
    assignment_id: int
    submitted_at: datetime
    is_surplus: bool


class FeedbackOut(BaseModel):
    """What was right in practice, what was said, and why; in words as it was shown, too."""

    is_right: bool
    answer: AnswerOut
    answer_words: str
    reason_html: str
    given: AnswerOut
    given_words: str


class ResultOut(BaseModel):
    """What became of one of several; with `refused` the reason, and nothing was changed by it."""

    assignment_id: int
    judgment_id: int | None = None
    is_surplus: bool = False
    refused: str | None = None
    feedback: FeedbackOut | None = Field(None, description="Of practice.")


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
    answer: AnswerOut | None
    flags: list[str]
    comment: str
    skip_reason: str
    revision: int
    ended_at: datetime
    is_surplus: bool
    is_retracted: bool


def assignment_out(
    sheet: Sheet, rules: Rules, instruction: str, *, rendered: bool = False
) -> AssignmentOut:
    """Return an assignment as the labeler may see it."""
    previous = sheet.previous and PreviousOut(
        answer=body_out(sheet.previous),
        flags=list(sheet.previous_flags),
        comment=sheet.previous_comment,
    )
    return AssignmentOut(
        id=sheet.assignment_id,
        comparison_id=sheet.comparison_id,
        lease_token=sheet.lease_token,
        expires_at=sheet.expires_at,
        kind=sheet.kind,
        instruction=instruction,
        messages=_messages(sheet.messages, rendered),
        candidates=[
            CandidateOut(
                position=candidate.position,
                text=candidate.text,
                html=str(render_markdown(candidate.text)) if rendered else None,
                raw=visible_raw(candidate.text) if rendered else None,
            )
            for candidate in sheet.candidates
        ],
        strengths=list(rules.strengths),
        allow_tie=rules.allow_tie,
        allow_both_bad=rules.allow_both_bad,
        criteria=[CriterionOut(name=name, help=help) for name, help in sheet.criteria.items()],
        rating_max=rules.rating_max,
        reasons=THUMB_REASONS if sheet.kind == JudgmentKind.THUMBS else {},
        is_practice=sheet.is_practice,
        previous=previous or None,
    )


def judged_of(state: QueueState) -> int:
    """Return the number judged as labelers see it: gold and repeats count like the rest."""
    judged = state.judged_in_all
    return min(judged, state.total) if state.is_total_exact else judged


def queue_out(state: QueueState, today: int) -> QueueOut:
    """Return a queue's state with its sentences."""
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
    )


def feedback_out(feedback: Feedback) -> FeedbackOut:
    """Return what was right about an answer."""
    return FeedbackOut(
        is_right=feedback.is_right,
        answer=body_out(feedback.settled),
        answer_words=in_words(feedback.settled, feedback.order),
        reason_html=str(render_markdown(feedback.reason)),
        given=body_out(feedback.given),
        given_words=in_words(feedback.given, feedback.order),
    )


def outcome_out(outcome: Outcome) -> OutcomeOut:
    """Return what became of a submission."""
    return OutcomeOut(
        judgment_id=outcome.judgment_id,
        assignment_id=outcome.assignment_id,
        submitted_at=outcome.submitted_at,
        is_surplus=outcome.is_surplus,
    )


def history_out(item: HistoryItem) -> HistoryOut:
    """Return an entry of a labeler's history."""
    return HistoryOut(
        assignment_id=item.assignment_id,
        judgment_id=item.judgment_id,
        state=str(item.state),
        kind=item.kind,
        messages=_messages(item.messages, rendered=False),
        candidates=[CandidateOut(position=one.position, text=one.text) for one in item.candidates],
        answer=body_out(item.body) if item.body else None,
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

"""Practice: settled comparisons with immediate feedback; none of the judgments counts.

The addresses under `assignments` mirror those of labeling, so that one page can use both.
"""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.db import now
from app.errors import AttuneError, Conflict, Invalid
from app.formats import practice as rows
from app.models import Membership, Purpose
from app.services.judging import judgment_bodies, practice_files, practice_runs
from app.services.judging.sheets import Sheet
from app.services.people import accounts
from app.services.project import instructions
from app.services.queue import practice_standing
from app.services.queue.practice_standing import PracticeComparison
from app.web.addresses import AddressedRoute
from app.web.assignment_requests import ClaimIn, ExchangeIn, SubmissionOf
from app.web.assignments import (
    AssignmentOut,
    ClaimOut,
    ExchangeOut,
    QueueOut,
    ResultOut,
    assignment_out,
    feedback_out,
)
from app.web.deps import LabelerAccess, LeadAccess, ProjectAccess
from app.web.guarded_route import takes_mib

router = APIRouter(
    prefix="/api/v1/projects/{slug}/practice", tags=["practice"], route_class=AddressedRoute
)

NOT_HERE = "comparisons in practice cannot be skipped"


class StandingOut(BaseModel):
    """Your progress in your current run of the practice set."""

    run: int
    total: int
    answered: int
    right: int
    needed: Annotated[
        int | None, Field(description="Right judgments needed to pass; null without a pass mark.")
    ]
    is_passed: bool
    is_required: Annotated[bool, Field(description="You must pass before you can label.")]
    sentences: list[str]


class TurnIn(BaseModel):
    """A turn of a conversation."""

    role: str
    content: str


class PracticeIn(BaseModel):
    """A settled comparison."""

    prompt: str | list[TurnIn]
    completions: Annotated[list[str], Field(min_length=1, max_length=9)]
    answer: Annotated[
        Literal["a", "b", "tie", "up", "down", "both_bad"] | list[int] | dict[str, list[int]],
        Field(description="In the order of `completions`: a side, ranks, a thumb, or ratings."),
    ]
    reason: str = ""


class AddIn(BaseModel):
    """Settled comparisons to add, for practice or as gold."""

    comparisons: Annotated[list[PracticeIn], Field(max_length=practice_files.MOST)]
    purpose: Literal["practice", "gold"] = "practice"


class RefusedOut(BaseModel):
    """A rejected comparison: its number, from 1, and the reason."""

    line: int
    reason: str


class AddedOut(BaseModel):
    """The result of adding settled comparisons."""

    new: int
    known: int
    refused: list[RefusedOut]


class PractisedOut(BaseModel):
    """A comparison of the practice set, and how often it was judged right."""

    comparison_id: int
    prompt: str
    answers: int
    right: int


@router.get("")
def show(access: LabelerAccess) -> StandingOut:
    """Return your progress."""
    return _standing(access)


@router.post("/again")
def again(access: LabelerAccess) -> StandingOut:
    """Start the next run; this one must be complete."""
    practice_standing.begin_again(access.session, access.project, member_of(access))
    return _standing(access)


@router.post("/assignments")
def claim(access: LabelerAccess, wanted: ClaimIn) -> ClaimOut:
    """Return the next comparisons of your run."""
    return ClaimOut(assignments=_next(access, wanted), queue=queue_of(access))


@router.post("/assignments/exchange")
@takes_mib(4)
def exchange(access: LabelerAccess, given: ExchangeIn) -> ExchangeOut:
    """Submit judgments, get feedback on them, and get the next comparisons."""
    results = [_submitted(access, work) for work in given.submissions]
    results += [
        ResultOut(assignment_id=skip.assignment_id, refused=NOT_HERE) for skip in given.skips
    ]
    return ExchangeOut(
        results=results,
        saved_at=now(access.session),
        assignments=_next(access, given),
        queue=queue_of(access),
    )


@router.post("/assignments/heartbeat")
def heartbeat(access: LabelerAccess) -> dict[int, datetime]:
    """Return what is left of your run; it is not leased, so it stays yours."""
    stays = now(access.session) + practice_runs.STAYS
    left = practice_runs.left(access.session, access.secret, access.project, access.user.id)
    return dict.fromkeys(left, stays)


@router.post("/assignments/undo")
def undo(access: LabelerAccess) -> AssignmentOut | None:
    """Refuse: feedback has been shown, so a judgment in practice stays."""
    raise Conflict("practice cannot be undone; you can repeat the run once it is complete")


@router.get("/assignments/queue")
def queue(access: LabelerAccess) -> QueueOut:
    """Return what is left of your run."""
    return queue_of(access)


@router.get("/comparisons")
def comparisons(access: LeadAccess) -> list[PractisedOut]:
    """Return the practice set."""
    practice_set = practice_standing.practice_set(access.session, access.project.id)
    return [_practised(comparison) for comparison in practice_set]


@router.post("/comparisons", status_code=201)
@takes_mib(8)
def add(access: LeadAccess, given: AddIn) -> AddedOut:
    """Add settled comparisons; known ones stay as they are."""
    result = practice_files.add(
        access.session,
        access.project,
        [_row(line, comparison) for line, comparison in enumerate(given.comparisons, 1)],
        Purpose(given.purpose),
        actor_id=access.user.id,
    )
    refused = [RefusedOut(line=row.line, reason=row.reason) for row in result.refused]
    return AddedOut(new=result.new, known=result.known, refused=refused)


def queue_of(access: ProjectAccess) -> QueueOut:
    """Return what is left of a run, in the shape of a queue."""
    standing = practice_standing.standing(access.session, access.project, access.user.id)
    return QueueOut(
        open=standing.left,
        is_open_exact=True,
        is_total_exact=True,
        held=0,
        judged=standing.answered,
        total=standing.total,
        with_others=0,
        next_free_s=None,
        today=standing.answered,
        reasons=[] if standing.left else list(standing.sentences),
        is_practising=True,
    )


def out(access: ProjectAccess, sheet: Sheet, *, rendered: bool) -> AssignmentOut:
    """Return a practice comparison as its labeler may see it."""
    rules = judgment_bodies.rules_of(access.project, sheet.kind, len(sheet.candidates))
    return assignment_out(sheet, rules, instructions.current(access.project), rendered=rendered)


def member_of(access: ProjectAccess) -> Membership:
    """Return the requesting user's membership, in this transaction.

    Raises:
        Conflict: the user is an administrator who is not a member.
    """
    member = accounts.membership(access.session, access.project.id, access.user.id)
    if member is None:
        raise Conflict("you are not a member of this project; only members can practice in it")
    return member


def _next(access: ProjectAccess, wanted: ClaimIn) -> list[AssignmentOut]:
    next_sheets = practice_runs.next_sheets(
        access.session,
        access.secret,
        access.project,
        access.user.id,
        held=wanted.held,
        count=wanted.count,
    )
    return [out(access, sheet, rendered=wanted.rendered) for sheet in next_sheets]


def _submitted(access: ProjectAccess, given: SubmissionOf) -> ResultOut:
    submission = given.to_submission(given.assignment_id)
    try:
        feedback = practice_runs.submit(
            access.session, access.secret, access.project, access.user.id, submission
        )
    except AttuneError as error:
        return ResultOut(assignment_id=given.assignment_id, refused=str(error))
    return ResultOut(assignment_id=given.assignment_id, feedback=feedback_out(feedback))


def _standing(access: ProjectAccess) -> StandingOut:
    standing = practice_standing.standing(access.session, access.project, access.user.id)
    member = accounts.membership(access.session, access.project.id, access.user.id)
    return StandingOut(
        run=standing.run,
        total=standing.total,
        answered=standing.answered,
        right=standing.right,
        needed=standing.needed,
        is_passed=standing.is_passed,
        is_required=practice_standing.is_required(access.session, access.project, member),
        sentences=list(standing.sentences),
    )


def _row(line: int, given: PracticeIn) -> practice_files.Numbered:
    try:
        return line, rows.read(given.model_dump())
    except Invalid as error:
        return line, str(error)


def _practised(practised: PracticeComparison) -> PractisedOut:
    return PractisedOut(
        comparison_id=practised.comparison.id,
        prompt=str(practised.prompt.messages[-1]["content"]),
        answers=practised.answers,
        right=practised.right,
    )

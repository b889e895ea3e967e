"""Assignments: claim, judge, skip, undo; used by the labeling page and by scripts."""

from datetime import datetime, timedelta

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.db import now
from app.domain.assignment import AHEAD, ahead, public_number
from app.errors import AttuneError, Invalid, LeaseLost
from app.models import Assignment
from app.services.judging import (
    corrections,
    judgment_bodies,
    labeler_history,
    queue_progress,
    sheets,
    skips,
)
from app.services.project import instructions, projects
from app.services.queue import slot_leases
from app.services.rounds import judging_flow
from app.web.assignment_requests import ClaimIn, ExchangeIn, KeyIn, ReleaseIn, SkipIn, SubmissionIn
from app.web.assignments import (
    AssignmentOut,
    ClaimOut,
    ExchangeOut,
    HistoryOut,
    OutcomeOut,
    QueueOut,
    ResultOut,
    assignment_out,
    history_out,
    outcome_out,
    queue_out,
)
from app.web.deps import LabelerAccess, LabelerDesk, ProjectAccess
from app.web.guarded_route import GuardedRoute, takes_mib
from app.web.row_ids import RowId, RowIdQuery

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["labeling"], route_class=GuardedRoute)

HISTORY_PAGE = 20


@router.post("/assignments", response_model=ClaimOut)
def claim(desk: LabelerDesk, wanted: ClaimIn) -> Response:
    """Lease the next comparisons; your current leases come first."""
    with desk.open() as access:
        assignments = _claim(access, wanted)
        queue = _queue_if_short(access, wanted, assignments)
    return _json(ClaimOut(assignments=assignments, queue=queue))


@router.post("/assignments/exchange", response_model=ExchangeOut)
@takes_mib(4)
def exchange(desk: LabelerDesk, given: ExchangeIn) -> Response:
    """Submit judgments and skips and lease the next comparisons, in one transaction."""
    with desk.open() as access:
        results = [_submitted(access, work.assignment_id, work) for work in given.submissions]
        results += [_skipped(access, skip.assignment_id, skip) for skip in given.skips]
        assignments = _claim(access, given)
        queue = _queue_if_short(access, given, assignments)
        saved_at = now(access.session)
    return _json(
        ExchangeOut(results=results, saved_at=saved_at, assignments=assignments, queue=queue)
    )


@router.post("/assignments/heartbeat")
def heartbeat(access: LabelerAccess) -> dict[int, datetime]:
    """Extend your leases; those missing from the result have gone to other labelers."""
    return slot_leases.heartbeat(access.session, access.project, access.user.id)


@router.post("/assignments/release")
def release(access: LabelerAccess, given: ReleaseIn | None = None) -> dict[str, int]:
    """Return your leases, or some of them, to the queue."""
    only = given.assignments if given else None
    return {
        "released": slot_leases.release(access.session, access.project.id, access.user.id, only),
    }


@router.post("/assignments/undo")
def undo(access: LabelerAccess, given: KeyIn, rendered: bool = False) -> AssignmentOut | None:
    """Reopen your last judgment or skip; null if there is none."""
    opened = corrections.undo(access.session, access.project, access.user.id, given.key)
    if opened is None:
        return None
    return _out(access, opened, rendered=rendered)


@router.get("/assignments/queue")
def queue(access: LabelerAccess, since: datetime | None = None) -> QueueOut:
    """Return what is left for you, or why nothing is; `since` is the start of your day."""
    return _queue(access, since)


@router.post("/assignments/{assignment_id}/submission", response_model=OutcomeOut)
def submit(desk: LabelerDesk, assignment_id: RowId, given: SubmissionIn) -> Response:
    """Submit a judgment; repeating the request returns the same outcome."""
    submission = given.to_submission(assignment_id)
    with desk.open() as access:
        outcome = judging_flow.submit(access.session, access.project, access.user.id, submission)
    return _json(outcome_out(outcome))


@router.post("/assignments/{assignment_id}/skip", status_code=204)
def skip(desk: LabelerDesk, assignment_id: RowId, given: SkipIn) -> None:
    """Leave a comparison to other labelers."""
    with desk.open() as access:
        _skip(access, assignment_id, given)


@router.get("/judgments")
def history(access: LabelerAccess, before: RowIdQuery = None) -> list[HistoryOut]:
    """Return your judgments and skips, newest first; `before` is the last assignment seen."""
    items = labeler_history.page(
        access.session, access.project.id, access.user.id, before=before, limit=HISTORY_PAGE
    )
    return [history_out(item) for item in items]


@router.put("/judgments/{judgment_id}")
def revise(access: LabelerAccess, judgment_id: RowId, given: SubmissionIn) -> OutcomeOut:
    """Replace your judgment with a new revision."""
    outcome = corrections.revise(
        access.session, access.project, access.user.id, judgment_id, given.to_submission(0)
    )
    return outcome_out(outcome)


@router.post("/judgments/{judgment_id}/retraction")
def retract(access: LabelerAccess, judgment_id: RowId, given: KeyIn) -> OutcomeOut:
    """Retract your judgment permanently."""
    outcome = corrections.retract(
        access.session, access.project, access.user.id, judgment_id, given.key
    )
    return outcome_out(outcome)


def _claim(access: ProjectAccess, wanted: ClaimIn) -> list[AssignmentOut]:
    held = list(wanted.held)
    leased = []
    most = _ahead(access, wanted)
    for _ in range(wanted.count):
        assignment = slot_leases.claim(
            access.session, access.secret, access.project, access.user.id, held=held, ahead=most
        )
        if assignment is None:
            break
        held.append(assignment.id)
        leased.append(_out(access, assignment, rendered=wanted.rendered))
    return leased


def _ahead(access: ProjectAccess, wanted: ClaimIn) -> int:
    """Return how many the labeler may hold ahead; the queue is counted only if it matters."""
    if not wanted.count or wanted.ahead <= AHEAD:
        return wanted.ahead
    open_ = queue_progress.count_open(access.session, access.project.id, access.user.id)
    return min(wanted.ahead, ahead(access.project.median_active_ms, open_))


def _out(access: ProjectAccess, assignment: Assignment, *, rendered: bool) -> AssignmentOut:
    sheet = sheets.of_assignment(access.session, assignment)
    rules = judgment_bodies.rules_of(access.project, sheet.kind, len(sheet.candidates))
    out = assignment_out(sheet, rules, instructions.current(access.project), rendered=rendered)
    out.comparison_id = public_number(access.secret, sheet.comparison_id)
    return out


def _queue_if_short(
    access: ProjectAccess, wanted: ClaimIn, assignments: list[AssignmentOut]
) -> QueueOut | None:
    return _queue(access, None) if len(assignments) < wanted.count else None


def _queue(access: ProjectAccess, since: datetime | None) -> QueueOut:
    session, project = access.session, access.project
    moment = now(session)
    if since is None or since.tzinfo is None or since < moment - timedelta(hours=48):
        since = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    today = queue_progress.judged_since(session, access.user.id, since, project.id)
    return queue_out(
        queue_progress.state(session, project, access.user.id),
        today,
        median_active_ms=project.median_active_ms,
        guidelines=projects.guidelines_version(session, project.id),
    )


def _submitted(access: ProjectAccess, assignment_id: int, given: SubmissionIn) -> ResultOut:
    # The service refuses before it writes anything, so the other results stand.
    submission = given.to_submission(assignment_id)
    try:
        outcome = judging_flow.submit(access.session, access.project, access.user.id, submission)
    except AttuneError as error:
        return _refused(assignment_id, error)
    return ResultOut(
        assignment_id=assignment_id,
        judgment_id=outcome.judgment_id,
        is_surplus=outcome.is_surplus,
    )


def _skip(access: ProjectAccess, assignment_id: int, given: SkipIn) -> None:
    skips.skip(access.session, access.project, access.user.id, given.to_skip(assignment_id))


def _skipped(access: ProjectAccess, assignment_id: int, given: SkipIn) -> ResultOut:
    try:
        _skip(access, assignment_id, given)
    except AttuneError as error:
        return _refused(assignment_id, error)
    return ResultOut(assignment_id=assignment_id)


def _refused(assignment_id: int, error: AttuneError) -> ResultOut:
    return ResultOut(
        assignment_id=assignment_id,
        refused=str(error),
        is_correctable=isinstance(error, Invalid | LeaseLost),
    )


def _json(result: BaseModel) -> Response:
    # FastAPI would validate the models once more, which takes as long as recording the judgment.
    return Response(result.model_dump_json(), media_type="application/json")

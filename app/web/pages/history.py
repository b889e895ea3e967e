"""A labeler's own history: their judgments, to review, change or retract."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request, Response

from app.domain.judgment_kinds import THUMB_REASONS
from app.domain.remarks import FLAGS, SKIP_REASONS
from app.errors import AttuneError, NotFound
from app.services.judging import corrections, judgment_bodies, labeler_history
from app.services.judging.labeler_history import HistoryItem
from app.services.judging.sheets import Sheet
from app.services.project import instructions, word_backlog
from app.web import addresses
from app.web.assignments import AssignmentOut, assignment_out
from app.web.deps import LabelerAccess, ProjectAccess
from app.web.guarded_route import shows_form_again
from app.web.judgment_forms import filled, reopened, scale_of, submission_of
from app.web.judgment_kinds import JudgmentForm, ScaleStep, in_words
from app.web.render import redirect, render
from app.web.row_ids import RowId, RowIdQuery

router = addresses.page_router()

PAGE = 20


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A judgment or a skip, also in words."""

    item: HistoryItem
    words: str

    @property
    def may_change(self) -> bool:
        """Whether it is a judgment that has not been retracted."""
        return self.item.judgment_id is not None and not self.item.is_retracted


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of the history, newest first."""

    entries: list[HistoryEntry]
    next_before: int | None
    search: str
    unindexed: int  # texts that a search does not find yet


@dataclass(frozen=True, slots=True)
class JudgmentEditPage:
    """One judgment, to be changed or retracted."""

    item: HistoryItem
    assignment: AssignmentOut
    words: str
    form: JudgmentForm
    scale: list[ScaleStep]
    flags: dict[str, str]
    thumb_reasons: dict[str, dict[str, str]]
    error: str = ""


@router.get("/p/{slug}/history")
def show(
    request: Request, access: LabelerAccess, before: RowIdQuery = None, q: str = ""
) -> Response:
    """Show the viewer's judgments and skips."""
    session, project_id, user_id = access.session, access.project.id, access.user.id
    items = labeler_history.page(
        session, project_id, user_id, before=before, limit=PAGE + 1, search=q.strip()
    )
    more = items[PAGE - 1].assignment_id if len(items) > PAGE else None
    entries = [HistoryEntry(item, words(item)) for item in items[:PAGE]]
    unindexed = word_backlog.waiting(session, project_id)
    page = HistoryPage(entries, more, q.strip(), unindexed)
    return render(request, "history/list.html", page)


@router.get("/p/{slug}/history/{assignment_id}")
def show_one(request: Request, access: LabelerAccess, assignment_id: RowId) -> Response:
    """Show one judgment with its form."""
    return render(request, "history/edit.html", _edit_page(access, assignment_id))


@router.post("/p/{slug}/history/{assignment_id}")
@shows_form_again
def save(
    request: Request,
    access: LabelerAccess,
    assignment_id: RowId,
    form: Annotated[JudgmentForm, Form()],
) -> Response:
    """Replace the judgment with a new revision."""
    item = _item(access, assignment_id)
    try:
        if item.judgment_id is None:
            raise NotFound("a skip cannot be changed; undo it on the labeling page")
        corrections.revise(
            access.session, access.project, access.user.id, item.judgment_id, submission_of(form)
        )
    except AttuneError as error:
        page = _edit_page(access, assignment_id, form, str(error))
        return render(request, "history/edit.html", page, status=422)
    return redirect(
        request,
        addresses.path("history.show", slug=access.project.slug),
        notice="Your change is saved.",
    )


@router.post("/p/{slug}/history/{assignment_id}/retract")
def retract(request: Request, access: LabelerAccess, assignment_id: RowId) -> Response:
    """Retract the judgment permanently."""
    item = _item(access, assignment_id)
    if item.judgment_id is None:
        raise NotFound("a skip cannot be retracted; undo it on the labeling page")
    key = f"retract-{item.judgment_id}"
    corrections.retract(access.session, access.project, access.user.id, item.judgment_id, key)
    return redirect(
        request, addresses.path("history.show", slug=access.project.slug), notice="Retracted."
    )


def words(item: HistoryItem) -> str:
    """Describe a judgment or a skip, with the responses numbered as they were shown."""
    if item.body is None:
        return f"Skipped: {SKIP_REASONS.get(item.skip_reason, item.skip_reason)}"
    return in_words(item.body, [candidate.position for candidate in item.candidates])


def _item(access: ProjectAccess, assignment_id: int) -> HistoryItem:
    item = labeler_history.item(access.session, access.project.id, access.user.id, assignment_id)
    if item is None:
        raise NotFound(f"you have no judgment {assignment_id} here")
    return item


def _edit_page(
    access: ProjectAccess, assignment_id: int, form: JudgmentForm | None = None, error: str = ""
) -> JudgmentEditPage:
    item = _item(access, assignment_id)
    sheet = Sheet(
        assignment_id=item.assignment_id,
        comparison_id=0,
        lease_token="",
        kind=item.kind,
        messages=item.messages,
        candidates=item.candidates,
        expires_at=item.ended_at,
        previous=item.body,
        previous_flags=item.flags,
        previous_comment=item.comment,
        criteria=judgment_bodies.criteria_of(access.session, access.project.id, item.kind),
    )
    rules = judgment_bodies.rules_of(access.project, item.kind, len(item.candidates))
    assignment = assignment_out(sheet, rules, instructions.current(access.project))
    before = filled(assignment)
    return JudgmentEditPage(
        item=item,
        assignment=assignment,
        words=words(item),
        form=reopened(form, assignment) if form else before,
        scale=scale_of(assignment, before.choice),
        flags=FLAGS,
        thumb_reasons=THUMB_REASONS,
        error=error,
    )

"""A labeler's own history: what they judged, to look at, change or take back."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request, Response

from app.domain.answers import FLAGS, SKIP_REASONS, THUMB_REASONS
from app.errors import AttuneError, NotFound
from app.services.judging import corrections, judgment_bodies, workload
from app.services.judging.workload import HistoryItem, Sheet
from app.web import addresses
from app.web.answer_forms import AnswerForm, Choice, choices_of, filled
from app.web.assignments import AssignmentOut, assignment_out
from app.web.deps import LabelerAccess, ProjectAccess
from app.web.render import redirect, render
from app.web.words import in_words

router = addresses.page_router()

PAGE = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A judgment or a skip, with what was said in words."""

    item: HistoryItem
    said: str

    @property
    def may_change(self) -> bool:
        """True for what still stands."""
        return self.item.judgment_id is not None and not self.item.is_retracted


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of the history, newest first."""

    entries: list[Entry]
    next_before: int | None
    search: str


@dataclass(frozen=True, slots=True)
class EditPage:
    """One judgment, to be changed or taken back."""

    item: HistoryItem
    assignment: AssignmentOut
    said: str
    form: AnswerForm
    choices: list[Choice]
    flags: dict[str, str]
    thumb_reasons: dict[str, dict[str, str]]
    error: str = ""


@router.get("/p/{slug}/history")
def show(
    request: Request, access: LabelerAccess, before: int | None = None, q: str = ""
) -> Response:
    """Show what the viewer judged."""
    session, project_id, user_id = access.session, access.project.id, access.user.id
    items = workload.history(
        session, project_id, user_id, before=before, limit=PAGE + 1, search=q.strip()
    )
    more = items[PAGE - 1].assignment_id if len(items) > PAGE else None
    entries = [Entry(item, said(item)) for item in items[:PAGE]]
    return render(request, "history/list.html", HistoryPage(entries, more, q.strip()))


@router.get("/p/{slug}/history/{assignment_id}")
def show_one(request: Request, access: LabelerAccess, assignment_id: int) -> Response:
    """Show one judgment with its form."""
    return render(request, "history/edit.html", _edit_page(access, assignment_id))


@router.post("/p/{slug}/history/{assignment_id}")
def save(
    request: Request,
    access: LabelerAccess,
    assignment_id: int,
    form: Annotated[AnswerForm, Form()],
) -> Response:
    """Replace the judgment by a new revision."""
    item = _item(access, assignment_id)
    try:
        if item.judgment_id is None:
            raise NotFound("a skip cannot be changed; undo it on the labeling page")
        corrections.revise(
            access.session, access.project, access.user.id, item.judgment_id, form.submission()
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
def retract(request: Request, access: LabelerAccess, assignment_id: int) -> Response:
    """Take the judgment back for good."""
    item = _item(access, assignment_id)
    if item.judgment_id is None:
        raise NotFound("a skip cannot be taken back")
    key = f"retract-{item.judgment_id}"
    corrections.retract(access.session, access.project, access.user.id, item.judgment_id, key)
    return redirect(
        request, addresses.path("history.show", slug=access.project.slug), notice="Taken back."
    )


def said(item: HistoryItem) -> str:
    """Say in words what was answered; answers are numbered as they were shown."""
    if item.body is None:
        return f"Skipped: {SKIP_REASONS.get(item.skip_reason, item.skip_reason)}"
    return in_words(item.body, [one.position for one in item.candidates])


def _item(access: ProjectAccess, assignment_id: int) -> HistoryItem:
    item = workload.history_item(access.session, access.project.id, access.user.id, assignment_id)
    if item is None:
        raise NotFound(f"you have no judgment {assignment_id} here")
    return item


def _edit_page(
    access: ProjectAccess, assignment_id: int, form: AnswerForm | None = None, error: str = ""
) -> EditPage:
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
    assignment = assignment_out(sheet, rules, access.project.instruction)
    before = filled(assignment)
    return EditPage(
        item=item,
        assignment=assignment,
        said=said(item),
        form=form or before,
        choices=choices_of(assignment, before.choice),
        flags=FLAGS,
        thumb_reasons=THUMB_REASONS,
        error=error,
    )

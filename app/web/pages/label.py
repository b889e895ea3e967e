"""The labeling page: one comparison, judged by key, by click, or by a plain form."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response

from app.db import now
from app.domain.answers import FLAGS, SKIP_REASONS, STRENGTH_NAMES, THUMB_REASONS
from app.domain.assignment import public_number
from app.domain.practice import Standing
from app.errors import AttuneError, NotFound
from app.models import Assignment, Guidelines, JudgmentKind, Project
from app.services.judging import corrections, judgment_bodies, skips, workload
from app.services.project import projects
from app.services.queue import practice_standing, slot_leases
from app.services.rounds import judging_flow
from app.web import guide
from app.web.answer_forms import AnswerForm, Choice, SkipForm, choices_of, filled
from app.web.assignments import AssignmentOut, QueueOut, assignment_out, queue_out
from app.web.deps import LabelerAccess, ProjectAccess
from app.web.guide import Step
from app.web.render import STATIC, redirect, render

router = APIRouter(include_in_schema=False)

QUESTIONS = {
    "pick": "Which answer is better?",
    "rank": "Best first",
    "rate": "How good is each answer?",
    "thumbs": "Is this answer good?",
    "write": "Write the best answer you can",
    "edit": "Make this answer better",
}


@dataclass(frozen=True, slots=True)
class LabelPage:
    """A comparison to judge, or why there is none; and all that the page's script needs."""

    project: Project
    assignment: AssignmentOut | None
    queue: QueueOut
    guidelines: Guidelines | None
    read_version: int
    url: str
    data: dict[str, Any]
    form: AnswerForm
    flags: dict[str, str]
    skip_reasons: dict[str, str]
    thumb_reasons: dict[str, dict[str, str]]
    guide: tuple[Step, ...] = ()
    error: str = ""
    standing: Standing | None = None  # of practice

    @property
    def question(self) -> str:
        """Return what is asked."""
        return QUESTIONS[self.data["kind"]]

    @property
    def modules(self) -> list[str]:
        """Return what the page's script imports, so that the browser fetches it all at once."""
        return sorted(file.name for file in (STATIC / "label").glob("*.js"))

    @property
    def choices(self) -> list[Choice]:
        """Return the scale from the first answer's best to the second one's."""
        return choices_of(self.assignment, self.form.choice) if self.assignment else []

    @property
    def guidelines_are_news(self) -> bool:
        """True when the version in force is not the one last read."""
        return self.guidelines is not None and self.guidelines.version > self.read_version


@router.get("/p/{slug}/label")
def show(request: Request, access: LabelerAccess) -> Response:
    """Show the comparison in hand; claiming one is a POST."""
    return render(request, "label/page.html", _page(access))


@router.post("/p/{slug}/label/claim")
def claim(request: Request, access: LabelerAccess) -> Response:
    """Take the next comparison."""
    _claim(access)
    return redirect(request, _url(access))


@router.post("/p/{slug}/label/submit")
def submit(
    request: Request, access: LabelerAccess, form: Annotated[AnswerForm, Form()]
) -> Response:
    """Record the judgment and take the next comparison."""
    try:
        judging_flow.submit(access.session, access.project, access.user.id, form.submission())
    except AttuneError as error:
        return _refused(request, access, str(error), form)
    _claim(access)
    return redirect(request, _url(access), notice="Saved.")


@router.post("/p/{slug}/label/skip")
def skip(request: Request, access: LabelerAccess, form: Annotated[SkipForm, Form()]) -> Response:
    """Leave the comparison to others and take the next."""
    try:
        skips.skip(access.session, access.project, access.user.id, form.skip())
    except AttuneError as error:
        return _refused(request, access, str(error))
    _claim(access)
    return redirect(request, _url(access), notice="Skipped.")


@router.post("/p/{slug}/label/undo")
def undo(request: Request, access: LabelerAccess, key: Annotated[str, Form()]) -> Response:
    """Open the last judgment again."""
    opened = corrections.undo(access.session, access.project, access.user.id, key)
    notice = "Opened again." if opened else "There is nothing to undo."
    return redirect(request, _url(access), notice=notice)


@router.post("/p/{slug}/label/guide-dismissed")
def dismiss_guide(request: Request, access: LabelerAccess) -> Response:
    """Send the guide of the first comparison away for good."""
    practice_standing.dismiss_guide(access.session, access.project.id, access.user.id)
    return redirect(request, _url(access))


@router.post("/p/{slug}/label/guidelines-read")
def guidelines_read(access: LabelerAccess, version: Annotated[int, Form()]) -> Response:
    """Remember which version of the guidelines this labeler has seen."""
    if access.membership is not None:
        member = access.session.merge(access.membership)
        member.guidelines_read_version = max(member.guidelines_read_version, version)
    return Response(status_code=204)


def _url(access: ProjectAccess) -> str:
    return f"/p/{access.project.slug}/label"


def _claim(access: ProjectAccess) -> None:
    slot_leases.claim(access.session, access.secret, access.project, access.user.id)


def _refused(
    request: Request, access: ProjectAccess, reason: str, form: AnswerForm | None = None
) -> Response:
    return render(request, "label/page.html", _page(access, form, error=reason), status=422)


def page_of(
    access: ProjectAccess,
    assignment: AssignmentOut | None,
    queue: QueueOut,
    form: AnswerForm | None = None,
    *,
    error: str = "",
    standing: Standing | None = None,
) -> LabelPage:
    """Return the page for a comparison; with a `standing` it is one of practice."""
    project, user, member = access.project, access.user, access.membership
    if form is None or assignment is None or form.assignment_id != assignment.id:
        form = filled(assignment) if assignment else AnswerForm()
    guidelines = _guidelines(access)
    is_practice = standing is not None
    is_guided = not (assignment is None and queue.reasons) and practice_standing.is_new(
        access.session, member
    )
    kind = JudgmentKind(assignment.kind if assignment else project.judgment_kind)
    return LabelPage(
        project=project,
        assignment=assignment,
        queue=queue,
        guidelines=guidelines,
        read_version=member.guidelines_read_version if member else 0,
        url=f"/p/{project.slug}/practice" if is_practice else _url(access),
        data={
            "api": f"/api/v1/projects/{project.slug}{'/practice' if is_practice else ''}",
            "page": _url(access),
            "practice": f"/p/{project.slug}/practice",
            "user": user.id,
            "single_keys": user.single_keys,
            "kind": str(kind),
            "assignment": assignment.model_dump(mode="json") if assignment else None,
            "queue": queue.model_dump(mode="json"),
            "flags": FLAGS,
            "strengths": STRENGTH_NAMES,
            "guidelines": guidelines.version if guidelines else 0,
        },
        form=form,
        flags=FLAGS,
        skip_reasons=SKIP_REASONS,
        thumb_reasons=THUMB_REASONS,
        guide=guide.steps(kind, is_practice=is_practice) if is_guided else (),
        error=error,
        standing=standing,
    )


def _page(access: ProjectAccess, form: AnswerForm | None = None, *, error: str = "") -> LabelPage:
    session, project, user = access.session, access.project, access.user
    held = workload.held(session, project.id, user.id)
    midnight = now(session).replace(hour=0, minute=0, second=0, microsecond=0)
    today = workload.judged_since(session, user.id, midnight, project.id)
    queue = queue_out(workload.queue_state(session, project, user.id), today)
    return page_of(access, _shown(access, held) if held else None, queue, form, error=error)


def _shown(access: ProjectAccess, held: Assignment) -> AssignmentOut:
    sheet = workload.sheet(access.session, held)
    rules = judgment_bodies.rules_of(access.project, sheet.kind, len(sheet.candidates))
    out = assignment_out(sheet, rules, access.project.instruction, rendered=True)
    out.comparison_id = public_number(access.secret, sheet.comparison_id)
    return out


def _guidelines(access: ProjectAccess) -> Guidelines | None:
    try:
        return projects.guidelines(access.session, access.project.id)
    except NotFound:
        return None

"""The labeling page: one comparison, judged by key, by click, or with a plain form."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Form, Request, Response

from app.db import now
from app.domain.assignment import public_number
from app.domain.judgment_kinds import STRENGTH_NAMES, THUMB_REASONS, JudgmentKind
from app.domain.practice import Standing
from app.domain.remarks import FLAGS, SKIP_REASONS
from app.errors import AttuneError, NotFound
from app.models import Assignment, Guidelines, Project
from app.services.judging import corrections, judgment_bodies, queue_progress, sheets, skips
from app.services.project import instructions, projects
from app.services.queue import practice_standing, slot_leases
from app.services.rounds import judging_flow
from app.web import addresses, guide
from app.web.assignments import AssignmentOut, QueueOut, assignment_out, queue_out
from app.web.deps import LabelerAccess, ProjectAccess
from app.web.guarded_route import shows_form_again
from app.web.guide import Step
from app.web.judgment_forms import (
    SkipForm,
    filled,
    reopened,
    scale_of,
    skip_of,
    submission_of,
)
from app.web.judgment_kinds import PAGE_KINDS, JudgmentForm, ScaleStep
from app.web.render import STATIC, redirect, render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class LabelPage:
    """A comparison to judge, or why there is none, and the data for the page's script."""

    project: Project
    assignment: AssignmentOut | None
    queue: QueueOut
    guidelines: Guidelines | None
    read_version: int
    is_member: bool
    kind: JudgmentKind
    url: str
    data: dict[str, Any]
    form: JudgmentForm
    flags: dict[str, str]
    skip_reasons: dict[str, str]
    thumb_reasons: dict[str, dict[str, str]]
    guide: tuple[Step, ...] = ()
    error: str = ""
    standing: Standing | None = None  # of practice

    @property
    def question(self) -> str:
        """The heading: what the labeler is asked."""
        return PAGE_KINDS[self.kind].question

    @property
    def modules(self) -> list[str]:
        """The modules that the page's script imports, so that the browser can fetch all at once."""
        return sorted(file.name for file in (STATIC / "label").glob("*.js"))

    @property
    def scale(self) -> list[ScaleStep]:
        """The scale between the two responses, for the kinds that have one."""
        return scale_of(self.assignment, self.form.choice) if self.assignment else []

    @property
    def guidelines_are_news(self) -> bool:
        """Whether the current version says something and is not the one that was read last."""
        rules = self.guidelines
        return rules is not None and rules.version > self.read_version and bool(rules.text)

    @property
    def rules_come_first(self) -> bool:
        """Whether the rules are shown in place of the comparison, until they have been read."""
        return self.is_member and self.guidelines_are_news

    @property
    def rules_text(self) -> str:
        """All of the guidelines."""
        return self.guidelines.text if self.guidelines else ""


@router.get("/p/{slug}/label")
def show(request: Request, access: LabelerAccess) -> Response:
    """Show the labeler's current comparison; claiming one is a POST."""
    return render(request, "label/page.html", _page(access))


@router.post("/p/{slug}/label/claim")
def claim(request: Request, access: LabelerAccess) -> Response:
    """Claim the next comparison."""
    _claim(access)
    return redirect(request, _url(access))


@router.post("/p/{slug}/label/submit")
@shows_form_again
def submit(
    request: Request, access: LabelerAccess, form: Annotated[JudgmentForm, Form()]
) -> Response:
    """Record the judgment and claim the next comparison."""
    try:
        judging_flow.submit(access.session, access.project, access.user.id, submission_of(form))
    except AttuneError as error:
        return _refused(request, access, str(error), form)
    _claim(access)
    return redirect(request, _url(access), notice="Saved.")


@router.post("/p/{slug}/label/skip")
def skip(request: Request, access: LabelerAccess, form: Annotated[SkipForm, Form()]) -> Response:
    """Skip the comparison and claim the next one."""
    try:
        skips.skip(access.session, access.project, access.user.id, skip_of(form))
    except AttuneError as error:
        return _refused(request, access, str(error))
    _claim(access)
    return redirect(request, _url(access), notice="Skipped.")


@router.post("/p/{slug}/label/undo")
def undo(request: Request, access: LabelerAccess, key: Annotated[str, Form()]) -> Response:
    """Reopen the last judgment or skip."""
    opened = corrections.undo(access.session, access.project, access.user.id, key)
    notice = "Reopened." if opened else "There is nothing to undo."
    return redirect(request, _url(access), notice=notice)


@router.post("/p/{slug}/label/guide-dismissed")
def dismiss_guide(request: Request, access: LabelerAccess) -> Response:
    """Dismiss the guide of the first comparison permanently."""
    practice_standing.dismiss_guide(access.session, access.project.id, access.user.id)
    return redirect(request, _url(access))


@router.post("/p/{slug}/label/guidelines-read")
def guidelines_read(
    request: Request,
    access: LabelerAccess,
    version: Annotated[int, Form()],
    then: Annotated[str, Form()] = "",
) -> Response:
    """Record which version of the guidelines the labeler has read; a form goes on to the work."""
    if access.membership is not None:
        projects.mark_guidelines_read(access.session, access.membership, version)
    if then == "label":
        return redirect(request, _url(access))
    if then == "practice":
        return redirect(request, addresses.path("practice.show", slug=access.project.slug))
    return Response(status_code=204)


def _url(access: ProjectAccess) -> str:
    return addresses.path("label.show", slug=access.project.slug)


def _claim(access: ProjectAccess) -> None:
    slot_leases.claim(access.session, access.secret, access.project, access.user.id)


def _refused(
    request: Request, access: ProjectAccess, reason: str, form: JudgmentForm | None = None
) -> Response:
    return render(request, "label/page.html", _page(access, form, error=reason), status=422)


def page_of(
    access: ProjectAccess,
    assignment: AssignmentOut | None,
    queue: QueueOut,
    form: JudgmentForm | None = None,
    *,
    error: str = "",
    standing: Standing | None = None,
) -> LabelPage:
    """Return the page for a comparison; in practice it has a `standing`."""
    project, user, member = access.project, access.user, access.membership
    if assignment is None:
        form = JudgmentForm()
    elif form is None or form.assignment_id != str(assignment.id):
        form = filled(assignment)
    else:
        form = reopened(form, assignment)
    guidelines = _guidelines(access)
    is_practice = standing is not None
    is_guided = not (assignment is None and queue.reasons) and practice_standing.is_new(
        access.session, member
    )
    kind = JudgmentKind(assignment.kind if assignment else project.judgment_kind)
    api = "api.practice.show" if is_practice else "api.projects.show"
    practice = addresses.path("practice.show", slug=project.slug)
    return LabelPage(
        project=project,
        assignment=assignment,
        queue=queue,
        guidelines=guidelines,
        read_version=member.guidelines_read_version if member else 0,
        is_member=member is not None,
        kind=kind,
        url=practice if is_practice else _url(access),
        data={
            "api": addresses.path(api, slug=project.slug),
            "page": _url(access),
            "practice": practice,
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


def _page(access: ProjectAccess, form: JudgmentForm | None = None, *, error: str = "") -> LabelPage:
    session, project, user = access.session, access.project, access.user
    held = queue_progress.held(session, project.id, user.id)
    midnight = now(session).replace(hour=0, minute=0, second=0, microsecond=0)
    today = queue_progress.judged_since(session, user.id, midnight, project.id)
    queue = queue_out(
        queue_progress.state(session, project, user.id),
        today,
        median_active_ms=project.median_active_ms,
        guidelines=projects.guidelines_version(session, project.id),
    )
    return page_of(access, _shown(access, held) if held else None, queue, form, error=error)


def _shown(access: ProjectAccess, held: Assignment) -> AssignmentOut:
    sheet = sheets.of_assignment(access.session, held)
    rules = judgment_bodies.rules_of(access.project, sheet.kind, len(sheet.candidates))
    out = assignment_out(sheet, rules, instructions.current(access.project), rendered=True)
    out.comparison_id = public_number(access.secret, sheet.comparison_id)
    return out


def _guidelines(access: ProjectAccess) -> Guidelines | None:
    try:
        return projects.guidelines(access.session, access.project.id)
    except NotFound:
        return None

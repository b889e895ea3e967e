"""The labeling page: one comparison, judged by key, by click, or by a plain form."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from pydantic import BaseModel

from app.db import now
from app.domain.answers import FLAGS, SKIP_REASONS, STRENGTH_NAMES, Body, PickBody, RankBody
from app.domain.ranking import Ranking
from app.errors import AttuneError, Invalid, NotFound
from app.models import Assignment, Guidelines, JudgmentKind, Project
from app.services import labeling, projects, workload
from app.services.labeling import Skip, Submission
from app.web.api.labeling import go_on
from app.web.assignments import AssignmentOut, QueueOut, assignment_out, queue_out
from app.web.deps import LabelerAccess, ProjectAccess
from app.web.render import redirect, render

router = APIRouter(include_in_schema=False)


class AnswerForm(BaseModel):
    """An answer as a plain form sends it."""

    key: str = ""
    assignment_id: int = 0
    lease_token: str = ""
    kind: JudgmentKind = JudgmentKind.PICK
    choice: str = ""  # "a", "a3", "tie": the side and its strength
    ranks: list[str] = []  # "position:rank"
    both_bad: bool = False
    flags: list[str] = []
    comment: str = ""

    def body(self) -> Body:
        """Return what was answered."""
        if self.kind == JudgmentKind.PICK:
            return self._pick()
        given = dict(one.split(":", 1) for one in self.ranks if ":" in one)
        chosen = {int(position): int(rank) for position, rank in given.items() if rank.isdigit()}
        if self.both_bad:
            return RankBody(None, both_bad=True)
        if len(chosen) < len(self.ranks):
            raise Invalid("give every answer a rank, or say that they cannot be ranked")
        ranking = Ranking.of_positions([chosen[position] for position in sorted(chosen)])
        return RankBody(ranking.ranks)

    def _pick(self) -> PickBody:
        if self.choice in {"", "tie"}:
            return PickBody(self.choice or None, None, self.both_bad)
        strength = int(self.choice[1:]) if self.choice[1:].isdigit() else None
        return PickBody(self.choice[:1], strength, self.both_bad)

    def submission(self) -> Submission:
        """Return it for the service; a form sent twice carries the same key."""
        return Submission(
            self.assignment_id,
            self.lease_token,
            self.key or f"form-{self.assignment_id}-{self.lease_token}"[:64],
            self.body(),
            tuple(self.flags),
            self.comment,
        )


class SkipForm(BaseModel):
    """A skip as a plain form sends it."""

    assignment_id: int
    lease_token: str
    reason: str = ""
    comment: str = ""

    def skip(self) -> Skip:
        """Return it for the service."""
        key = f"form-{self.assignment_id}-{self.lease_token}"[:64]
        return Skip(self.assignment_id, self.lease_token, key, self.reason, self.comment)


@dataclass(frozen=True, slots=True)
class Choice:
    """One step of the scale between two answers: its value, and how it reads."""

    value: str
    label: str
    place: int | None  # on screen, 1 or 2; None for about the same
    strength: int | None = None


@dataclass(frozen=True, slots=True)
class LabelPage:
    """A comparison to judge, or why there is none; and all that the page's script needs."""

    project: Project
    assignment: AssignmentOut | None
    queue: QueueOut
    guidelines: Guidelines | None
    read_version: int
    data: dict[str, Any]
    flags: dict[str, str]
    skip_reasons: dict[str, str]
    error: str = ""

    @property
    def choices(self) -> list[Choice]:
        """Return the scale from the left answer's best to the right one's."""
        return choices_of(self.assignment) if self.assignment else []

    @property
    def previous_choice(self) -> str:
        """Return the choice that was made before an undo."""
        previous = self.assignment and self.assignment.previous
        if not previous or previous.answer.kind != "pick" or previous.answer.preferred is None:
            return ""
        return f"{previous.answer.preferred}{previous.answer.strength or ''}"

    @property
    def guidelines_are_news(self) -> bool:
        """True when the version in force is not the one last read."""
        return self.guidelines is not None and self.guidelines.version > self.read_version


def choices_of(assignment: AssignmentOut) -> list[Choice]:
    """Return the scale of a pick, in the order shown."""
    if assignment.kind != JudgmentKind.PICK:
        return []
    left, right = ("ab"[one.position] for one in assignment.candidates)
    steps = assignment.strengths

    def side(letter: str, place: int, strength: int | None) -> Choice:
        if strength is None:
            return Choice(letter, f"{place} is better", place)
        return Choice(f"{letter}{strength}", f"{STRENGTH_NAMES[strength]} {place}", place, strength)

    lefts = [side(left, 1, strength) for strength in reversed(steps)] or [side(left, 1, None)]
    rights = [side(right, 2, strength) for strength in steps] or [side(right, 2, None)]
    middle = [Choice("tie", "About the same", None)] if assignment.allow_tie else []
    return lefts + middle + rights


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
        outcome = labeling.submit(access.session, access.project, access.user.id, form.submission())
    except AttuneError as error:
        return _refused(request, access, str(error))
    go_on(access.session, outcome)
    _claim(access)
    return redirect(request, _url(access), notice="Saved.")


@router.post("/p/{slug}/label/skip")
def skip(request: Request, access: LabelerAccess, form: Annotated[SkipForm, Form()]) -> Response:
    """Leave the comparison to others and take the next."""
    try:
        labeling.skip(access.session, access.project, access.user.id, form.skip())
    except AttuneError as error:
        return _refused(request, access, str(error))
    _claim(access)
    return redirect(request, _url(access), notice="Skipped.")


@router.post("/p/{slug}/label/undo")
def undo(request: Request, access: LabelerAccess, key: Annotated[str, Form()]) -> Response:
    """Open the last judgment again."""
    opened = labeling.undo(access.session, access.project, access.user.id, key)
    notice = "Opened again." if opened else "There is nothing to undo."
    return redirect(request, _url(access), notice=notice)


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
    labeling.claim(access.session, access.secret, access.project, access.user.id)


def _refused(request: Request, access: ProjectAccess, reason: str) -> Response:
    return render(request, "label/page.html", _page(access, error=reason), status=422)


def _page(access: ProjectAccess, *, error: str = "") -> LabelPage:
    session, project, user = access.session, access.project, access.user
    held = workload.held(session, project.id, user.id)
    assignment = _shown(access, held) if held else None
    midnight = now(session).replace(hour=0, minute=0, second=0, microsecond=0)
    today = workload.judged_since(session, user.id, midnight, project.id)
    queue = queue_out(labeling.queue_state(session, project, user.id), today)
    guidelines = _guidelines(access)
    return LabelPage(
        project=project,
        assignment=assignment,
        queue=queue,
        guidelines=guidelines,
        read_version=access.membership.guidelines_read_version if access.membership else 0,
        data={
            "api": f"/api/v1/projects/{project.slug}",
            "page": _url(access),
            "user": user.id,
            "single_keys": user.single_keys,
            "kind": str(project.judgment_kind),
            "assignment": assignment.model_dump(mode="json") if assignment else None,
            "queue": queue.model_dump(mode="json"),
            "flags": FLAGS,
            "strengths": STRENGTH_NAMES,
            "guidelines": guidelines.version if guidelines else 0,
        },
        flags=FLAGS,
        skip_reasons=SKIP_REASONS,
        error=error,
    )


def _shown(access: ProjectAccess, held: Assignment) -> AssignmentOut:
    sheet = labeling.sheet(access.session, held)
    rules = labeling.rules_of(access.project, sheet.kind, len(sheet.candidates))
    return assignment_out(sheet, rules, access.project.instruction, rendered=True)


def _guidelines(access: ProjectAccess) -> Guidelines | None:
    try:
        return projects.guidelines(access.session, access.project.id)
    except NotFound:
        return None

"""Practice: the labeling page over settled comparisons, what was right, and the lead's set of them.

What is practised and what counts as right is decided in the services and the domain.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from app.domain.practice import PRACTISED, Standing, expected
from app.errors import AttuneError, NotFound
from app.models import Membership, Project, Purpose
from app.services.judging import practice_files, practice_runs
from app.services.judging.practice_files import RejectedRow
from app.services.judging.practice_runs import Feedback
from app.services.people import accounts
from app.services.queue import practice_standing
from app.services.queue.practice_standing import Practised
from app.web.answer_forms import AnswerForm
from app.web.api.practice import member_of, out, queue_of
from app.web.assignments import AssignmentOut
from app.web.deps import LabelerAccess, LeadAccess, ProjectAccess
from app.web.pages import label
from app.web.render import redirect, render
from app.web.words import LETTERS, in_words

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of a run, in words."""

    feedback: Feedback
    prompt: str

    @property
    def right(self) -> str:
        """The settled answer in words."""
        return in_words(self.feedback.settled, self.feedback.order)

    @property
    def given(self) -> str:
        """What was answered, in words."""
        return in_words(self.feedback.given, self.feedback.order)


@dataclass(frozen=True, slots=True)
class ResultPage:
    """How a run went, answer by answer."""

    project: Project
    standing: Standing
    answered: list[Answered]
    is_required: bool


@dataclass(frozen=True, slots=True)
class FeedbackPage:
    """One answer beside what was right."""

    assignment: AssignmentOut
    answered: Answered
    standing: Standing


@dataclass(frozen=True, slots=True)
class SettledRow:
    """A comparison of the set, its answer in words by canonical letter."""

    practised: Practised
    right: str


@dataclass(frozen=True, slots=True)
class SetPage:
    """The practice set, who stands where, and the form that adds to it."""

    project: Project
    rows: list[SettledRow]
    standings: list[tuple[Membership, Standing]]
    is_practised: bool
    refused: tuple[RejectedRow, ...] = ()
    error: str = ""


@router.get("/p/{slug}/practice")
def show(request: Request, access: LabelerAccess) -> Response:
    """Show the next practice comparison, or how the run went."""
    return _show(request, access)


@router.post("/p/{slug}/practice/submit")
def submit(
    request: Request, access: LabelerAccess, form: Annotated[AnswerForm, Form()]
) -> Response:
    """Keep the answer and show what was right."""
    try:
        feedback = practice_runs.submit(
            access.session, access.secret, access.project, access.user.id, form.submission()
        )
    except AttuneError as error:
        return _show(request, access, form, str(error))
    return redirect(request, f"{_url(access)}/answers/{feedback.comparison_id}")


@router.get("/p/{slug}/practice/answers/{comparison_id}")
def show_answer(request: Request, access: LabelerAccess, comparison_id: int) -> Response:
    """Show the viewer's newest answer beside what was right."""
    session, project = access.session, access.project
    row = practice_runs.answer_of(session, project.id, access.user.id, comparison_id)
    if row is None:
        raise NotFound(f"you have not answered practice comparison {comparison_id}")
    sheet = practice_runs.sheet_of(session, project, row)
    page = FeedbackPage(
        out(access, sheet, rendered=False),
        Answered(practice_runs.feedback(session, row), sheet.messages[-1][1]),
        practice_standing.standing(session, project, access.user.id),
    )
    return render(request, "practice/answer.html", page)


@router.post("/p/{slug}/practice/again")
def again(request: Request, access: LabelerAccess) -> Response:
    """Start the next run."""
    practice_standing.begin_again(access.session, access.project, member_of(access))
    return redirect(request, _url(access))


@router.get("/p/{slug}/practice/set")
def show_set(request: Request, access: LeadAccess) -> Response:
    """Show the practice set and who stands where."""
    return render(request, "practice/set.html", _set_page(access))


@router.post("/p/{slug}/practice/set")
def add(
    request: Request,
    access: LeadAccess,
    file: Annotated[UploadFile, File()],
    purpose: Annotated[Purpose, Form()] = Purpose.PRACTICE,
) -> Response:
    """Add settled comparisons from a file."""
    try:
        taken = practice_files.run(
            access.session, access.project, file.file, purpose, actor_id=access.user.id
        )
    except AttuneError as error:
        page = _set_page(access, error=str(error))
        return render(request, "practice/set.html", page, status=422)
    if taken.refused:
        return render(request, "practice/set.html", _set_page(access, refused=taken.refused))
    notice = f"{taken.new:,} added{f', {taken.known:,} were there already' if taken.known else ''}."
    return redirect(request, f"{_url(access)}/set", notice=notice)


@router.post("/p/{slug}/practice/set/{user_id}/again")
def ask_again(request: Request, access: LeadAccess, user_id: int) -> Response:
    """Ask a member to practise once more before they label."""
    member = accounts.membership(access.session, access.project.id, user_id)
    if member is None:
        raise NotFound(f"user {user_id} is not in {access.project.name}")
    practice_standing.ask_again(access.session, access.project, member, actor_id=access.user.id)
    return redirect(request, f"{_url(access)}/set", notice=f"{member.pseudonym} practises again.")


def _url(access: ProjectAccess) -> str:
    return f"/p/{access.project.slug}/practice"


def _show(
    request: Request, access: ProjectAccess, form: AnswerForm | None = None, error: str = ""
) -> Response:
    session, project, user_id = access.session, access.project, access.user.id
    standing = practice_standing.standing(session, project, user_id)
    if access.membership is None or not standing.left:
        return render(request, "practice/result.html", _result(access, standing))
    (sheet,) = practice_runs.sheets(session, access.secret, project, user_id)
    page = label.page_of(
        access,
        out(access, sheet, rendered=True),
        queue_of(access),
        form,
        error=error,
        standing=standing,
    )
    return render(request, "practice/page.html", page, status=422 if error else 200)


def _result(access: ProjectAccess, standing: Standing) -> ResultPage:
    session, project = access.session, access.project
    rows = practice_runs.answers(session, project.id, access.user.id, standing.run)
    answered = [
        Answered(practice_runs.feedback(session, row), practice_runs.prompt_of(session, row))
        for row in rows
    ]
    required = practice_standing.is_required(session, project, access.membership)
    return ResultPage(project, standing, answered, required)


def _set_page(
    access: ProjectAccess, *, refused: tuple[RejectedRow, ...] = (), error: str = ""
) -> SetPage:
    session, project = access.session, access.project
    rows = [
        SettledRow(one, _right(one)) for one in practice_standing.practice_set(session, project.id)
    ]
    standings = practice_standing.standings(session, project, accounts.members(session, project.id))
    is_practised = str(project.judgment_kind) in PRACTISED
    return SetPage(project, rows, standings, is_practised, refused, error)


def _right(one: Practised) -> str:
    settled = expected(str(one.comparison.kind), one.comparison.gold_answer or {})
    return in_words(settled, range(9), LETTERS)

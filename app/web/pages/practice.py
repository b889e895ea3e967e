"""Practice: settled comparisons on the labeling page, feedback, and the lead's practice set."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import File, Form, Request, Response, UploadFile

from app.domain.practice import PRACTICED, Standing, expected
from app.errors import AttuneError, NotFound
from app.models import Membership, Project, Purpose
from app.services.judging import practice_files, practice_runs
from app.services.judging.practice_files import RejectedRow
from app.services.judging.practice_runs import Feedback
from app.services.people import accounts
from app.services.queue import practice_standing
from app.services.queue.practice_standing import PracticeComparison
from app.web import addresses, pass_mark_words
from app.web.api.practice import member_of, out, queue_of
from app.web.assignments import AssignmentOut
from app.web.deps import LabelerAccess, LeadAccess, ProjectAccess
from app.web.guarded_route import shows_form_again, takes_file
from app.web.judgment_forms import submission_of
from app.web.judgment_kinds import LETTERS, PAGE_KINDS, JudgmentForm, in_words
from app.web.pages import label
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class JudgedInPractice:
    """A judgment in a run, in words."""

    feedback: Feedback
    prompt: str

    @property
    def right(self) -> str:
        """The settled answer in words."""
        return in_words(self.feedback.settled, self.feedback.order)

    @property
    def given(self) -> str:
        """The labeler's judgment in words."""
        return in_words(self.feedback.given, self.feedback.order)


@dataclass(frozen=True, slots=True)
class ResultPage:
    """The results of a run, judgment by judgment."""

    project: Project
    standing: Standing
    judged: list[JudgedInPractice]
    is_required: bool


@dataclass(frozen=True, slots=True)
class FeedbackPage:
    """One judgment beside the settled answer."""

    assignment: AssignmentOut
    judged: JudgedInPractice
    standing: Standing


@dataclass(frozen=True, slots=True)
class SettledRow:
    """A comparison of the set; its settled answer names completions by canonical letter."""

    practiced: PracticeComparison
    right: str


@dataclass(frozen=True, slots=True)
class SetPage:
    """The practice set, the members' progress, and the form that adds comparisons."""

    project: Project
    rows: list[SettledRow]
    standings: list[tuple[Membership, Standing]]
    is_practiced: bool
    settled_format: str  # Markdown
    pass_mark: str  # what it does, or would do
    refused: tuple[RejectedRow, ...] = ()
    error: str = ""


@router.get("/p/{slug}/practice")
def show(request: Request, access: LabelerAccess) -> Response:
    """Show the next practice comparison, or the results of the run."""
    return _show(request, access)


@router.post("/p/{slug}/practice/submit")
@shows_form_again
def submit(
    request: Request, access: LabelerAccess, form: Annotated[JudgmentForm, Form()]
) -> Response:
    """Record the judgment and show feedback on it."""
    try:
        feedback = practice_runs.submit(
            access.session, access.secret, access.project, access.user.id, submission_of(form)
        )
    except AttuneError as error:
        return _show(request, access, form, str(error))
    return redirect(
        request,
        addresses.path(
            "practice.show_answer", slug=access.project.slug, comparison_id=feedback.comparison_id
        ),
    )


@router.get("/p/{slug}/practice/answers/{comparison_id}")
def show_answer(request: Request, access: LabelerAccess, comparison_id: RowId) -> Response:
    """Show the viewer's newest judgment beside the settled answer."""
    session, project = access.session, access.project
    row = practice_runs.answer_of(session, project.id, access.user.id, comparison_id)
    if row is None:
        raise NotFound(f"you have not judged practice comparison {comparison_id}")
    sheet = practice_runs.sheet_of(session, project, row)
    page = FeedbackPage(
        out(access, sheet, rendered=False),
        JudgedInPractice(practice_runs.feedback(session, row), sheet.messages[-1][1]),
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
    """Show the practice set and the members' progress."""
    return render(request, "practice/set.html", _set_page(access))


@router.post("/p/{slug}/practice/set")
@takes_file
def add(
    request: Request,
    access: LeadAccess,
    file: Annotated[UploadFile, File()],
    purpose: Annotated[Purpose, Form()] = Purpose.PRACTICE,
) -> Response:
    """Add settled comparisons from a file."""
    try:
        result = practice_files.run(
            access.session, access.project, file.file, purpose, actor_id=access.user.id
        )
    except AttuneError as error:
        page = _set_page(access, error=str(error))
        return render(request, "practice/set.html", page, status=422)
    if result.refused:
        return render(request, "practice/set.html", _set_page(access, refused=result.refused))
    known = f", {result.known:,} known already" if result.known else ""
    notice = f"{result.new:,} added{known}."
    return redirect(
        request, addresses.path("practice.show_set", slug=access.project.slug), notice=notice
    )


@router.post("/p/{slug}/practice/set/{user_id}/again")
def ask_again(request: Request, access: LeadAccess, user_id: RowId) -> Response:
    """Make a member practice again before they label."""
    member = accounts.membership(access.session, access.project.id, user_id)
    if member is None:
        raise NotFound(f"user {user_id} is not in {access.project.name}")
    practice_standing.ask_again(access.session, access.project, member, actor_id=access.user.id)
    return redirect(
        request,
        addresses.path("practice.show_set", slug=access.project.slug),
        notice=f"{member.pseudonym} must practice again.",
    )


def _url(access: ProjectAccess) -> str:
    return addresses.path("practice.show", slug=access.project.slug)


def _show(
    request: Request, access: ProjectAccess, form: JudgmentForm | None = None, error: str = ""
) -> Response:
    session, project, user_id = access.session, access.project, access.user.id
    standing = practice_standing.standing(session, project, user_id)
    if access.membership is None or not standing.left:
        return render(request, "practice/result.html", _result(access, standing))
    (sheet,) = practice_runs.next_sheets(session, access.secret, project, user_id)
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
    judged = [
        JudgedInPractice(
            practice_runs.feedback(session, row), practice_runs.prompt_of(session, row)
        )
        for row in rows
    ]
    required = practice_standing.is_required(session, project, access.membership)
    return ResultPage(project, standing, judged, required)


def _set_page(
    access: ProjectAccess, *, refused: tuple[RejectedRow, ...] = (), error: str = ""
) -> SetPage:
    session, project = access.session, access.project
    practice_set = practice_standing.practice_set(session, project.id)
    rows = [SettledRow(practiced, _right(practiced)) for practiced in practice_set]
    standings = practice_standing.standings(session, project, accounts.members(session, project.id))
    is_practiced = project.judgment_kind in PRACTICED
    settled_format = PAGE_KINDS[project.judgment_kind].settled_format
    mark = pass_mark_words.sentence(practice_standing.pass_mark(session, project))
    return SetPage(project, rows, standings, is_practiced, settled_format, mark, refused, error)


def _right(practiced: PracticeComparison) -> str:
    comparison = practiced.comparison
    settled = expected(comparison.kind, comparison.gold_answer or {})
    return in_words(settled, range(9), LETTERS)

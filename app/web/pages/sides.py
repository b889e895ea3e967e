"""Side by side: two models' or results files' answers to the same prompts."""

from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile

from app.domain import text_diff
from app.domain.text_diff import Piece, PieceKind
from app.errors import AttuneError
from app.models import ResultsFile, Split
from app.services.checkpoints import response_jobs, results_files, side_by_side
from app.services.checkpoints.side_by_side import (
    Difference,
    Length,
    PairFilter,
    ResponsePair,
    SideBySidePage,
    SideChoice,
)
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render

router = APIRouter(include_in_schema=False)

DIFFERENCES = {"": "All pairs", "different": "Different answers", "same": "The same answer"}


@dataclass(frozen=True, slots=True)
class SidesPage:
    """What can be put side by side, what is, and the files that came in."""

    models: list[SideChoice]
    files: list[SideChoice]
    wanted: PairFilter | None
    found: SideBySidePage | None
    marks: bool
    uploaded: list[ResultsFile]
    splits: list[Split]
    error: str = ""

    @property
    def differences(self) -> dict[str, str]:
        """The choices by difference."""
        return DIFFERENCES

    @property
    def lengths(self) -> dict[str, str]:
        """The choices by length, in the words of this pair."""
        assert self.found is not None
        first, second = self.found.first.name, self.found.second.name
        return {
            "": "Any length",
            "first": f"{first} longer",
            "second": f"{second} longer",
            "much": "One half as long again",
        }

    def link(self, number: int) -> str:
        """The address of another page of the same pairs."""
        assert self.wanted is not None
        return "?" + _query(replace(self.wanted, number=number), marks=self.marks)

    def swapped(self) -> str:
        """The address of the same with the sides exchanged."""
        assert self.wanted is not None
        turned = {Length.FIRST: Length.SECOND, Length.SECOND: Length.FIRST}
        length = turned.get(self.wanted.length, self.wanted.length)
        first, second = self.wanted.second, self.wanted.first
        wanted = replace(self.wanted, first=first, second=second, length=length, number=1)
        return "?" + _query(wanted, marks=self.marks)

    def pieces(self, pair: ResponsePair, side: str) -> list[Piece]:
        """One side's text, the words marked that the other does not have."""
        own = {"first": PieceKind.OLD, "second": PieceKind.NEW}[side]
        found = text_diff.marked(pair.first, pair.second)
        return [one for one in found if one.kind in (PieceKind.SAME, own)]


@router.get("/p/{slug}/sides")
def show(
    request: Request,
    access: LeadAccess,
    a: Annotated[str, Query()] = "",
    b: Annotated[str, Query()] = "",
    q: Annotated[str, Query()] = "",
    difference: Annotated[Difference, Query()] = Difference.ANY,
    length: Annotated[Length, Query()] = Length.ANY,
    order: Annotated[str, Query()] = "",
    marks: Annotated[bool, Query()] = False,
    page: Annotated[int, Query(ge=1)] = 1,
) -> Response:
    """Show two sides, or what could be chosen."""
    wanted = PairFilter(a, b, q, difference, length, order == "length", page) if a and b else None
    return render(request, "sides/page.html", _page(access, wanted, marks=marks))


@router.post("/p/{slug}/sides/files")
def upload(
    request: Request, access: LeadAccess, file: Annotated[list[UploadFile], File()]
) -> Response:
    """Take one or two results files in; two are shown side by side at once."""
    try:
        taken = [
            results_files.add(
                access.session,
                access.project,
                one.file,
                filename=one.filename or "",
                user_id=access.user.id,
            )
            for one in file
        ]
    except AttuneError as error:
        page = _page(access, None, error=str(error))
        return render(request, "sides/page.html", page, status=422)
    url = f"/p/{access.project.slug}/sides"
    if len(taken) == 2:
        keys = [f"file-{one.file.id}" for one in taken]
        url += f"?{urlencode({'a': keys[0], 'b': keys[1]})}"
    return redirect(request, url, notice=" ".join(one.summary for one in taken))


@router.post("/p/{slug}/sides/files/{file_id}/remove")
def remove(request: Request, access: LeadAccess, file_id: int) -> Response:
    """Throw a results file away."""
    found = results_files.get(access.session, access.project.id, file_id)
    results_files.remove(access.session, found, user_id=access.user.id)
    url = f"/p/{access.project.slug}/sides"
    return redirect(request, url, notice=f"{found.name} is thrown away.")


@router.post("/p/{slug}/sides/answers")
def answer(
    request: Request,
    access: LeadAccess,
    a: Annotated[str, Form()],
    b: Annotated[str, Form()],
    prompts: Annotated[int, Form()] = 50,
    split: Annotated[Split, Form()] = Split.TEST,
) -> Response:
    """Let two models answer the same prompts."""
    try:
        job = response_jobs.enqueue(
            access.session, access.project, (a, b), prompts, split, user_id=access.user.id
        )
    except AttuneError as error:
        page = _page(access, None, error=str(error))
        return render(request, "sides/page.html", page, status=422)
    url = f"/p/{access.project.slug}/sides?{urlencode({'a': a, 'b': b})}"
    return redirect(request, url, notice=f"Job {job.id} lets them answer; come back in a moment.")


def _page(
    access: ProjectAccess, wanted: PairFilter | None, *, marks: bool = False, error: str = ""
) -> SidesPage:
    session, project_id = access.session, access.project.id
    models, files = side_by_side.choices(session, project_id)
    return SidesPage(
        models,
        files,
        wanted,
        side_by_side.page(session, project_id, wanted) if wanted else None,
        marks,
        results_files.of_project(session, project_id),
        list(Split),
        error,
    )


def _query(wanted: PairFilter, *, marks: bool) -> str:
    values = {
        "a": wanted.first,
        "b": wanted.second,
        "q": wanted.search,
        "difference": wanted.difference,
        "length": wanted.length,
        "order": "length" if wanted.by_length else "",
        "marks": "1" if marks else "",
        "page": wanted.number if wanted.number > 1 else "",
    }
    return urlencode({key: value for key, value in values.items() if value})

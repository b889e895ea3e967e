"""Side by side: the responses of two models or results files to the same prompts."""

from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import File, Form, Query, Request, Response, UploadFile

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
from app.web import addresses
from app.web.deps import LeadAccess, ProjectAccess
from app.web.guarded_route import takes_file
from app.web.render import redirect, render
from app.web.row_ids import RowId

router = addresses.page_router()

DIFFERENCES = {"": "All pairs", "different": "Different responses", "same": "Same response"}


@dataclass(frozen=True, slots=True)
class SidesPage:
    """What can be compared, the selected pair with its page of responses, and the results files."""

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
        """The options of the difference filter."""
        return DIFFERENCES

    @property
    def lengths(self) -> dict[str, str]:
        """The options of the length filter, with the names of the two sides."""
        assert self.found is not None
        first, second = self.found.first.name, self.found.second.name
        return {
            "": "Any length",
            "first": f"{first} longer",
            "second": f"{second} longer",
            "much": "One at least 1.5 times as long",
        }

    def link(self, number: int) -> str:
        """Return the link to another page of the same pairs."""
        assert self.wanted is not None
        return "?" + _query(replace(self.wanted, number=number), marks=self.marks)

    def swapped(self) -> str:
        """Return the link to the same pairs with the sides swapped."""
        assert self.wanted is not None
        turned = {Length.FIRST: Length.SECOND, Length.SECOND: Length.FIRST}
        length = turned.get(self.wanted.length, self.wanted.length)
        first, second = self.wanted.second, self.wanted.first
        wanted = replace(self.wanted, first=first, second=second, length=length, number=1)
        return "?" + _query(wanted, marks=self.marks)

    def pieces(self, pair: ResponsePair, side: str) -> list[Piece]:
        """Return the text of one side, with the words that the other lacks marked."""
        own = {"first": PieceKind.OLD, "second": PieceKind.NEW}[side]
        pieces = text_diff.marked(pair.first, pair.second)
        return [piece for piece in pieces if piece.kind in (PieceKind.SAME, own)]


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
    """Show two sides, or the form to choose them."""
    wanted = PairFilter(a, b, q, difference, length, order == "length", page) if a and b else None
    return render(request, "sides/page.html", _page(access, wanted, marks=marks))


@router.post("/p/{slug}/sides/files")
@takes_file
def upload(
    request: Request, access: LeadAccess, file: Annotated[list[UploadFile], File()]
) -> Response:
    """Upload results files; two are then shown side by side."""
    try:
        added = [
            results_files.add(
                access.session,
                access.project,
                upload_file.file,
                filename=upload_file.filename or "",
                user_id=access.user.id,
            )
            for upload_file in file
        ]
    except AttuneError as error:
        page = _page(access, None, error=str(error))
        return render(request, "sides/page.html", page, status=422)
    pair: dict[str, str] = {}
    if len(added) == 2:
        keys = [f"file-{result.file.id}" for result in added]
        pair = {"a": keys[0], "b": keys[1]}
    url = addresses.path("sides.show", query=pair, slug=access.project.slug)
    return redirect(request, url, notice=" ".join(result.summary for result in added))


@router.post("/p/{slug}/sides/files/{file_id}/remove")
def remove(request: Request, access: LeadAccess, file_id: RowId) -> Response:
    """Delete a results file."""
    results_file = results_files.get(access.session, access.project.id, file_id)
    results_files.remove(access.session, results_file, user_id=access.user.id)
    url = addresses.path("sides.show", slug=access.project.slug)
    return redirect(request, url, notice=f"{results_file.name} is deleted.")


@router.post("/p/{slug}/sides/answers")
def generate(
    request: Request,
    access: LeadAccess,
    a: Annotated[str, Form()],
    b: Annotated[str, Form()],
    prompts: Annotated[int, Form()] = 50,
    split: Annotated[Split, Form()] = Split.TEST,
) -> Response:
    """Let two models respond to the same prompts."""
    try:
        job = response_jobs.enqueue(
            access.session, access.project, (a, b), prompts, split, user_id=access.user.id
        )
    except AttuneError as error:
        page = _page(access, None, error=str(error))
        return render(request, "sides/page.html", page, status=422)
    url = addresses.path("sides.show", query={"a": a, "b": b}, slug=access.project.slug)
    return redirect(request, url, notice=f"Job {job.id} is generating the responses.")


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

"""Side by side: the responses of two models or results files."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from pydantic import BaseModel

from app.models import Split
from app.services.checkpoints import response_jobs, results_files, side_by_side
from app.services.checkpoints.side_by_side import Difference, Length, PairFilter, SideChoice
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute, takes_file
from app.web.row_ids import RowId

router = APIRouter(prefix="/api/v1/projects/{slug}/sides", tags=["sides"], route_class=GuardedRoute)


class ChoiceOut(BaseModel):
    """A side that can be chosen; its key is like "model-3" or "file-2"."""

    key: str
    name: str
    answers: int


class FileOut(BaseModel):
    """A results file, and a summary of its upload."""

    id: int
    key: str
    name: str
    rows: int
    created_at: datetime
    summary: str


class ResponsePairOut(BaseModel):
    """A prompt with both responses, and the turns before those to a follow-up."""

    messages: list[dict[str, Any]]
    first: str
    second: str
    earlier_first: list[dict[str, Any]] = []
    earlier_second: list[dict[str, Any]] = []


class TotalsOut(BaseModel):
    """Totals over all pairs; mean lengths are in characters."""

    pairs: int
    same: int
    length_first: float | None
    length_second: float | None
    longer_first: int
    longer_second: int
    only_first: int
    only_second: int


class SidesOut(BaseModel):
    """A page of the pairs that match the filters."""

    first: ChoiceOut
    second: ChoiceOut
    pairs: list[ResponsePairOut]
    found: int
    page: int
    pages: int
    totals: TotalsOut


class ResponsesIn(BaseModel):
    """Models that will respond to the first prompts of a split."""

    sides: list[str]
    prompts: int = 50
    split: Split = Split.TEST


class ResponseJobOut(BaseModel):
    """The job that generates the responses."""

    job_id: int


@router.get("/choices")
def choices(access: LeadAccess) -> list[ChoiceOut]:
    """Return the models and results files that can be shown side by side."""
    models, files = side_by_side.choices(access.session, access.project.id)
    return [_choice(side) for side in (*models, *files)]


@router.get("")
def show(
    access: LeadAccess,
    first: str,
    second: str,
    search: str = "",
    difference: Difference = Difference.ANY,
    length: Length = Length.ANY,
    by_length: bool = False,
    page: Annotated[int, Query(ge=1)] = 1,
) -> SidesOut:
    """Return a page of the pairs that match the filters."""
    wanted = PairFilter(first, second, search, difference, length, by_length, page)
    page_of_pairs = side_by_side.page(access.session, access.project.id, wanted)
    return SidesOut(
        first=_choice(page_of_pairs.first),
        second=_choice(page_of_pairs.second),
        pairs=[
            ResponsePairOut(
                messages=[dict(turn) for turn in pair.messages],
                first=pair.first,
                second=pair.second,
                earlier_first=[dict(turn) for turn in pair.earlier_first],
                earlier_second=[dict(turn) for turn in pair.earlier_second],
            )
            for pair in page_of_pairs.pairs
        ],
        found=page_of_pairs.found,
        page=page_of_pairs.number,
        pages=page_of_pairs.pages,
        totals=TotalsOut.model_validate(page_of_pairs.totals, from_attributes=True),
    )


@router.post("/files", status_code=201)
@takes_file
def upload(access: LeadAccess, file: Annotated[UploadFile, File()]) -> FileOut:
    """Upload a results file."""
    added = results_files.add(
        access.session,
        access.project,
        file.file,
        filename=file.filename or "",
        user_id=access.user.id,
    )
    row = added.file
    return FileOut(
        id=row.id,
        key=f"file-{row.id}",
        name=row.name,
        rows=row.rows,
        created_at=row.created_at,
        summary=added.summary,
    )


@router.delete("/files/{file_id}", status_code=204)
def remove(access: LeadAccess, file_id: RowId) -> None:
    """Delete a results file."""
    results_file = results_files.get(access.session, access.project.id, file_id)
    results_files.remove(access.session, results_file, user_id=access.user.id)


@router.post("/answers", status_code=202)
def generate(access: LeadAccess, body: ResponsesIn) -> ResponseJobOut:
    """Let models respond to the same prompts."""
    job = response_jobs.enqueue(
        access.session,
        access.project,
        body.sides,
        body.prompts,
        body.split,
        user_id=access.user.id,
    )
    return ResponseJobOut(job_id=job.id)


def _choice(side: SideChoice) -> ChoiceOut:
    return ChoiceOut(key=side.key, name=side.name, answers=side.answers)

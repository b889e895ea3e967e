"""Two models' or results files' answers side by side."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from pydantic import BaseModel

from app.models import Split
from app.services.checkpoints import response_jobs, results_files, side_by_side
from app.services.checkpoints.side_by_side import Difference, Length, PairFilter, SideChoice
from app.web.deps import LeadAccess

router = APIRouter(prefix="/api/v1/projects/{slug}/sides", tags=["sides"])


class ChoiceOut(BaseModel):
    """A side that can be chosen: "model-3" or "file-2"."""

    key: str
    name: str
    answers: int


class FileOut(BaseModel):
    """A results file, and what was left out of it when it came in."""

    id: int
    key: str
    name: str
    rows: int
    created_at: datetime
    summary: str


class PairOut(BaseModel):
    """A prompt with both answers."""

    messages: list[dict[str, Any]]
    first: str
    second: str


class TotalsOut(BaseModel):
    """What all pairs come to; mean lengths in characters."""

    pairs: int
    same: int
    length_first: float | None
    length_second: float | None
    longer_first: int
    longer_second: int
    only_first: int
    only_second: int


class SidesOut(BaseModel):
    """A page of the pairs that fit."""

    first: ChoiceOut
    second: ChoiceOut
    pairs: list[PairOut]
    found: int
    page: int
    pages: int
    totals: TotalsOut


class Ask(BaseModel):
    """Models that are to answer the first prompts of a split."""

    sides: list[str]
    prompts: int = 50
    split: Split = Split.TEST


class JobOut(BaseModel):
    """The job that lets them answer."""

    job_id: int


@router.get("/choices")
def choices(access: LeadAccess) -> list[ChoiceOut]:
    """Return what can be put side by side."""
    models, files = side_by_side.choices(access.session, access.project.id)
    return [_choice(one) for one in (*models, *files)]


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
    """Return a page of the pairs that fit."""
    wanted = PairFilter(first, second, search, difference, length, by_length, page)
    found = side_by_side.page(access.session, access.project.id, wanted)
    return SidesOut(
        first=_choice(found.first),
        second=_choice(found.second),
        pairs=[
            PairOut(
                messages=[dict(turn) for turn in one.messages], first=one.first, second=one.second
            )
            for one in found.pairs
        ],
        found=found.found,
        page=found.number,
        pages=found.pages,
        totals=TotalsOut.model_validate(found.totals, from_attributes=True),
    )


@router.post("/files", status_code=201)
def upload(access: LeadAccess, file: Annotated[UploadFile, File()]) -> FileOut:
    """Take a results file in."""
    taken = results_files.add(
        access.session,
        access.project,
        file.file,
        filename=file.filename or "",
        user_id=access.user.id,
    )
    row = taken.file
    return FileOut(
        id=row.id,
        key=f"file-{row.id}",
        name=row.name,
        rows=row.rows,
        created_at=row.created_at,
        summary=taken.summary,
    )


@router.delete("/files/{file_id}", status_code=204)
def remove(access: LeadAccess, file_id: int) -> None:
    """Throw a results file away."""
    found = results_files.get(access.session, access.project.id, file_id)
    results_files.remove(access.session, found, user_id=access.user.id)


@router.post("/answers", status_code=202)
def answer(access: LeadAccess, body: Ask) -> JobOut:
    """Let models answer the same prompts."""
    job = response_jobs.enqueue(
        access.session,
        access.project,
        body.sides,
        body.prompts,
        body.split,
        user_id=access.user.id,
    )
    return JobOut(job_id=job.id)


def _choice(one: SideChoice) -> ChoiceOut:
    return ChoiceOut(key=one.key, name=one.name, answers=one.answers)

"""Files in: prompts, demonstrations, completions and preferences, in any format we read."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, UploadFile
from pydantic import BaseModel

from app.models import ImportRun, Prompt, Split
from app.services import imports, prompts
from app.web.deps import LeadAccess

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["prompts"])

class ImportOut(BaseModel):
    """What became of a file: counts by kind, and the lines that were not taken."""

    id: int
    filename: str
    format: str
    sha256: str
    counts: dict[str, int]
    rejects: list[dict[str, Any]]
    created_at: datetime


class PromptOut(BaseModel):
    """A prompt."""

    id: int
    messages: list[dict[str, Any]]
    follow_up: list[str]
    split: Split
    source: str


class PromptsOut(BaseModel):
    """A page of prompts, newest first, and how many each split has."""

    prompts: list[PromptOut]
    counts: dict[str, int]


@router.post("/imports", status_code=201)
def take_in(
    access: LeadAccess,
    file: Annotated[UploadFile, File(description="JSON lines, a JSON array or CSV; or gzip.")],
    format: Annotated[str, Form(description="Detected where left out.")] = "",
) -> ImportOut:
    """Take a file in; bad lines are reported by number and the rest goes in."""
    run = imports.run(
        access.session,
        access.project,
        file.file,
        filename=file.filename or "upload",
        format=format or None,
        author_id=access.user.id,
    )
    return _out(run)


@router.get("/imports")
def list_imports(access: LeadAccess) -> list[ImportOut]:
    """Return the files that came in, newest first."""
    return [_out(each) for each in imports.of_project(access.session, access.project.id)]


@router.get("/prompts")
def list_prompts(
    access: LeadAccess,
    split: Split | None = None,
    search: str = "",
    before: int | None = None,
) -> PromptsOut:
    """Return a page of prompts; `before` is the last id of the page before."""
    page = prompts.page(
        access.session, access.project.id, split=split, search=search, source="", before=before
    )
    counts = prompts.counts(access.session, access.project.id)
    return PromptsOut(
        prompts=[_prompt_out(each.prompt) for each in page.rows],
        counts={str(split): count for split, count in counts.items()},
    )


def _out(run: ImportRun) -> ImportOut:
    return ImportOut.model_validate(run, from_attributes=True)


def _prompt_out(row: Prompt) -> PromptOut:
    return PromptOut.model_validate(row, from_attributes=True)

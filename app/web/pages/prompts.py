"""Prompts: what is there, by split and source; files taken in; what a file could not give."""

import json
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile

from app.errors import AttuneError
from app.formats import registry
from app.models import Completion, Demonstration, ImportRun, Prompt, Split
from app.services.datasets import demonstrations, imports
from app.services.project import prompts
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class PromptsPage:
    """A page of prompts, what was asked for, and the form for files."""

    listed: prompts.Page
    counts: dict[Split, int]
    demonstrations: int
    sources: list[str]
    split: Split | None
    search: str
    source: str
    imports: list[ImportRun]
    formats: dict[str, str]
    error: str = ""

    @property
    def total(self) -> int:
        """All prompts of the project."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class PromptPage:
    """One prompt with its answers."""

    prompt: Prompt
    demonstrations: list[Demonstration]
    completions: list[Completion]


@dataclass(frozen=True, slots=True)
class ImportPage:
    """What became of a file."""

    run: ImportRun
    title: str


@router.get("/p/{slug}/prompts")
def show(
    request: Request,
    access: LeadAccess,
    split: Annotated[Split | Literal[""], Query()] = "",
    q: Annotated[str, Query()] = "",
    source: Annotated[str, Query()] = "",
    before: Annotated[int | None, Query()] = None,
) -> Response:
    """List the prompts, newest first."""
    page = _page(access, split=split or None, search=q, source=source, before=before)
    return render(request, "prompts/page.html", page)


@router.post("/p/{slug}/prompts")
def upload(
    request: Request,
    access: LeadAccess,
    file: Annotated[UploadFile, File()],
    format: Annotated[str, Form()] = "",
) -> Response:
    """Take a file in."""
    try:
        run = imports.run(
            access.session,
            access.project,
            file.file,
            filename=file.filename or "",
            format=format or None,
            author_id=access.user.id,
        )
    except AttuneError as error:
        return render(request, "prompts/page.html", _page(access, error=str(error)), status=422)
    return redirect(request, f"/p/{access.project.slug}/prompts/imports/{run.id}")


@router.get("/p/{slug}/prompts/imports/{import_id}")
def show_import(request: Request, access: LeadAccess, import_id: int) -> Response:
    """Show what became of a file."""
    run = imports.get(access.session, access.project.id, import_id)
    title = registry.names().get(run.format, run.format)
    return render(request, "prompts/import.html", ImportPage(run, title))


@router.get("/p/{slug}/prompts/imports/{import_id}/rejects.jsonl")
def rejects(access: LeadAccess, import_id: int) -> Response:
    """Give the lines that were not taken, each with its number and the reason."""
    run = imports.get(access.session, access.project.id, import_id)
    body = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in run.rejects)
    name = f"rejects-{run.id}.jsonl"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type="application/jsonl", headers=headers)


@router.get("/p/{slug}/prompts/{prompt_id}")
def show_prompt(request: Request, access: LeadAccess, prompt_id: int) -> Response:
    """Show one prompt with its demonstrations and completions."""
    prompt = prompts.get(access.session, access.project.id, prompt_id)
    page = PromptPage(
        prompt,
        prompts.demonstrations_of(access.session, prompt.id),
        prompts.completions_of(access.session, prompt.id),
    )
    return render(request, "prompts/one.html", page)


def _page(
    access: ProjectAccess,
    *,
    split: Split | None = None,
    search: str = "",
    source: str = "",
    before: int | None = None,
    error: str = "",
) -> PromptsPage:
    session, project_id = access.session, access.project.id
    listed = prompts.page(
        session, project_id, split=split, search=search, source=source, before=before
    )
    return PromptsPage(
        listed,
        prompts.counts(session, project_id),
        demonstrations.count(session, project_id),
        prompts.sources(session, project_id),
        split,
        search,
        source,
        imports.of_project(session, project_id),
        registry.names(),
        error,
    )

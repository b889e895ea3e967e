"""Prompts: listed by split and source; imports, their progress and the lines they rejected."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import File, Form, Query, Request, Response, UploadFile

from app.errors import AttuneError
from app.formats import column_mapping, registry
from app.formats.preview import FilePreview, preview
from app.models import Completion, Demonstration, ImportRun, Prompt, Split
from app.services.datasets import demonstrations, import_jobs, imports
from app.services.datasets.import_jobs import ImportStatus
from app.services.project import prompts
from app.web import addresses
from app.web.deps import LeadAccess, ProjectAccess
from app.web.render import redirect, render

router = addresses.page_router()


@dataclass(frozen=True, slots=True)
class ImportsPage:
    """The imported files, newest first."""

    imports: list[ImportStatus]

    @property
    def is_importing(self) -> bool:
        """True while a job imports one of the files."""
        return any(not status.is_over for status in self.imports)


@dataclass(frozen=True, slots=True)
class PromptsPage:
    """A page of prompts with its filters, and the form to import files."""

    listed: prompts.ListedPrompts
    counts: dict[Split, int]
    demonstrations: int
    sources: list[str]
    split: Split | None
    search: str
    source: str
    imported: ImportsPage
    formats: dict[str, str]
    error: str = ""
    format: str = ""
    columns: str = ""
    evaluation: bool = False
    preview: tuple[FilePreview, ...] = ()

    @property
    def total(self) -> int:
        """The number of prompts in the project."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class PromptPage:
    """One prompt with its demonstrations and responses."""

    prompt: Prompt
    demonstrations: list[Demonstration]
    completions: list[Completion]


@dataclass(frozen=True, slots=True)
class ImportPage:
    """The result of an import, or the progress of its job."""

    status: ImportStatus
    title: str

    @property
    def run(self) -> ImportRun:
        """The import itself."""
        return self.status.run


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
    columns: Annotated[str, Form()] = "",
    evaluation: Annotated[bool, Form()] = False,
    action: Annotated[Literal["import", "preview"], Form()] = "import",
) -> Response:
    """Import a file, or show its first rows; a job imports a large one."""
    try:
        mapping = column_mapping.parse(filter(None, map(str.strip, columns.splitlines())))
        if action == "preview":
            files = preview(_chunks(file), format or None, mapping)
            page = replace(_page(access), format=format, columns=columns, preview=files)
            return render(request, "prompts/page.html", replace(page, evaluation=evaluation))
        started = import_jobs.start(
            access.session,
            access.project,
            file.file,
            filename=file.filename or "",
            format=format or None,
            author_id=access.user.id,
            mapping=mapping,
            is_evaluation=evaluation,
        )
    except AttuneError as error:
        page = replace(_page(access, error=str(error)), format=format, columns=columns)
        page = replace(page, evaluation=evaluation)
        return render(request, "prompts/page.html", page, status=422)
    return redirect(
        request,
        addresses.path("prompts.show_import", slug=access.project.slug, import_id=started.run.id),
    )


@router.get("/p/{slug}/prompts/imports/live")
def live_imports(request: Request, access: LeadAccess) -> Response:
    """Return the list of imported files, with the progress of those a job imports."""
    listed = import_jobs.of_project(access.session, access.project.id)
    page = ImportsPage(listed)
    return render(request, "prompts/_imports.html", page, fragment=True)


@router.get("/p/{slug}/prompts/imports/{import_id}")
def show_import(request: Request, access: LeadAccess, import_id: int) -> Response:
    """Show the result of an import."""
    return render(request, "prompts/import.html", _import_page(access, import_id))


@router.get("/p/{slug}/prompts/imports/{import_id}/live")
def live_import(request: Request, access: LeadAccess, import_id: int) -> Response:
    """Return the part of an import's page that changes."""
    page = _import_page(access, import_id)
    return render(request, "prompts/_import.html", page, fragment=True)


@router.get("/p/{slug}/prompts/imports/{import_id}/rejects.jsonl")
def rejects(access: LeadAccess, import_id: int) -> Response:
    """Return the rejected lines, each with its number and the reason."""
    run = imports.get(access.session, access.project.id, import_id)
    body = "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in run.rejects)
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


def _chunks(file: UploadFile) -> Iterator[bytes]:
    return iter(lambda: file.file.read(1 << 16), b"")


def _import_page(access: ProjectAccess, import_id: int) -> ImportPage:
    status = import_jobs.status(access.session, access.project.id, import_id)
    return ImportPage(status, registry.names().get(status.run.format, status.run.format))


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
        ImportsPage(import_jobs.of_project(session, project_id)),
        registry.names(),
        error,
    )

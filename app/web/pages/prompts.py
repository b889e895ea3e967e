"""Prompts: listed by filters, labelled in bulk; imports, their progress and rejected lines."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import File, Form, Query, Request, Response, UploadFile
from pydantic import BaseModel, Field

from app.db.keyset import NEWEST_FIRST, ListOrder
from app.errors import AttuneError
from app.formats import charsets, column_mapping, registry
from app.formats.preview import FilePreview
from app.models import Completion, Demonstration, ImportRun, Prompt, PromptEdit, Split
from app.services.datasets import demonstrations, import_jobs, imports
from app.services.datasets.import_jobs import ImportStatus
from app.services.project import prompt_labels, prompt_search, prompts, word_backlog
from app.services.project.prompt_labels import LabelAction
from app.services.project.prompt_search import ListedPrompts, PromptFilter
from app.services.rounds import next_step
from app.web import addresses, list_orders, next_step_words
from app.web.deps import LeadAccess, ProjectAccess
from app.web.guarded_route import takes_file
from app.web.list_orders import ListLinks
from app.web.next_step_parts import NextStepWords
from app.web.render import redirect, render
from app.web.row_ids import RowId, RowIdIn

router = addresses.page_router()


Labelers = Literal["", "same", "other"]
"""Whose the votes without a labeler's name are; by default, the file tells."""
Splits = Literal["", "names", "content"]
"""What sets the splits of an archive; by default, the names of its files if they say several."""


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

    listed: ListedPrompts
    links: ListLinks
    selected: int
    counts: dict[Split, int]
    demonstrations: int
    sources: list[str]
    categories: list[str]
    tags: list[str]
    chosen: PromptFilter
    edits: list[PromptEdit]
    imported: ImportsPage
    formats: dict[str, str]
    unindexed: int
    error: str = ""
    format: str = ""
    columns: str = ""
    encoding: str = ""
    evaluation: bool = False
    labelers: Labelers = ""
    splits: Splits = ""
    preview: tuple[FilePreview, ...] = ()

    @property
    def encodings(self) -> Mapping[str, str]:
        """The encodings that can be chosen, with their titles."""
        return charsets.ENCODINGS

    @property
    def total(self) -> int:
        """The number of prompts in the project."""
        return sum(self.counts.values())

    @property
    def filters(self) -> dict[str, str]:
        """The filters as they are in the address."""
        return _query_of(self.chosen)

    def said(self, edit: PromptEdit) -> str:
        """What a bulk edit did, in a sentence."""
        return prompt_labels.sentence(edit)


@dataclass(frozen=True, slots=True)
class PromptPage:
    """One prompt with its demonstrations and responses."""

    prompt: Prompt
    tags: tuple[str, ...]
    demonstrations: list[Demonstration]
    completions: list[Completion]


@dataclass(frozen=True, slots=True)
class ImportPage:
    """The result of an import, or the progress of its job."""

    status: ImportStatus
    title: str
    next: NextStepWords | None = None  # of the project, once the import is over

    @property
    def run(self) -> ImportRun:
        """The import itself."""
        return self.status.run


class PromptQuery(BaseModel):
    """The filters in the address of the page, or in the form of a bulk edit."""

    split: Split | Literal[""] = ""
    q: str = ""
    source: str = ""
    category: str = ""
    tag: str = ""

    def filter(self) -> PromptFilter:
        """Return the filters."""
        return PromptFilter(self.split or None, self.q, self.source, self.category, self.tag)


class LabelForm(PromptQuery):
    """A bulk edit of the prompts that match the filters."""

    action: LabelAction
    value: str = ""


class PromptsQuery(PromptQuery):
    """The filters, the order, and the prompt that the page before ended with."""

    sort: str = ""
    order: Literal["", "asc", "desc"] = ""
    before: Annotated[RowIdIn | Literal[""], Field(union_mode="left_to_right")] = ""
    value: str = ""

    def list_order(self) -> ListOrder:
        """Return the order, and where the page starts."""
        return list_orders.read(self.sort, self.order, self.before, self.value)


@router.get("/p/{slug}/prompts")
def show(request: Request, access: LeadAccess, query: Annotated[PromptsQuery, Query()]) -> Response:
    """List the prompts, newest first unless asked otherwise."""
    page = _page(access, query.filter(), order=query.list_order())
    return render(request, "prompts/page.html", page)


@router.post("/p/{slug}/prompts/labels")
def label(request: Request, access: LeadAccess, form: Annotated[LabelForm, Form()]) -> Response:
    """Tag, untag or categorize the prompts that match the filters."""
    session, project, chosen = access.session, access.project, form.filter()
    try:
        selection = prompt_labels.selection(chosen, None, everything=True)
        edited = prompt_labels.edit(
            session, project, selection, form.action, form.value, actor_id=access.user.id
        )
    except AttuneError as error:
        page = _page(access, chosen, error=str(error))
        return render(request, "prompts/page.html", page, status=422)
    return redirect(request, _url(access, form), notice=prompt_labels.outcome(edited))


@router.post("/p/{slug}/prompts/labels/{edit_id}/undo")
def undo_label(
    request: Request, access: LeadAccess, edit_id: RowId, form: Annotated[PromptQuery, Form()]
) -> Response:
    """Undo a bulk edit."""
    undone = prompt_labels.undo(access.session, access.project, edit_id, actor_id=access.user.id)
    return redirect(request, _url(access, form), notice=prompt_labels.restored(undone))


@router.post("/p/{slug}/prompts")
@takes_file
def upload(
    request: Request,
    access: LeadAccess,
    file: Annotated[UploadFile, File()],
    format: Annotated[str, Form()] = "",
    columns: Annotated[str, Form()] = "",
    evaluation: Annotated[bool, Form()] = False,
    encoding: Annotated[str, Form()] = "",
    labelers: Annotated[Labelers, Form()] = "",
    splits: Annotated[Splits, Form()] = "",
    action: Annotated[Literal["import", "preview"], Form()] = "import",
) -> Response:
    """Import a file, or show its first rows; a job imports a large one."""
    same_labelers, member_splits = _chosen(labelers, "same"), _chosen(splits, "names")

    def refilled(page: PromptsPage) -> PromptsPage:
        return replace(
            page,
            format=format,
            columns=columns,
            evaluation=evaluation,
            encoding=encoding,
            labelers=labelers,
            splits=splits,
        )

    try:
        mapping = column_mapping.parse(filter(None, map(str.strip, columns.splitlines())))
        with charsets.in_encoding(file.file, encoding) as data:
            if action == "preview":
                files = imports.previewed(
                    access.session,
                    access.project,
                    data,
                    format=format or None,
                    mapping=mapping,
                    same_labelers=same_labelers,
                    member_splits=member_splits,
                )
                page = refilled(replace(_page(access), preview=files))
                return render(request, "prompts/page.html", page)
            started = import_jobs.start(
                access.session,
                access.project,
                data,
                filename=file.filename or "",
                format=format or None,
                author_id=access.user.id,
                mapping=mapping,
                is_evaluation=evaluation,
                same_labelers=same_labelers,
                member_splits=member_splits,
            )
    except AttuneError as error:
        page = refilled(_page(access, error=str(error)))
        return render(request, "prompts/page.html", page, status=422)
    return redirect(
        request,
        addresses.path("prompts.show_import", slug=access.project.slug, import_id=started.run.id),
    )


def _chosen(sent: str, yes: str) -> bool | None:
    """Return a choice between yes and no, or None where the file is to tell."""
    return sent == yes if sent else None


@router.get("/p/{slug}/prompts/imports/live")
def live_imports(request: Request, access: LeadAccess) -> Response:
    """Return the list of imported files, with the progress of those a job imports."""
    listed = import_jobs.of_project(access.session, access.project.id)
    page = ImportsPage(listed)
    return render(request, "prompts/_imports.html", page, fragment=True)


@router.get("/p/{slug}/prompts/imports/{import_id}")
def show_import(request: Request, access: LeadAccess, import_id: RowId) -> Response:
    """Show the result of an import."""
    page = _import_page(access, import_id)
    if page.status.is_over:
        step = next_step.of_project(access.session, access.project)
        page = replace(page, next=next_step_words.words(access.project, step))
    return render(request, "prompts/import.html", page)


@router.get("/p/{slug}/prompts/imports/{import_id}/live")
def live_import(request: Request, access: LeadAccess, import_id: RowId) -> Response:
    """Return the part of an import's page that changes."""
    page = _import_page(access, import_id)
    return render(request, "prompts/_import.html", page, fragment=True)


@router.get("/p/{slug}/prompts/imports/{import_id}/rejects.jsonl")
def rejects(access: LeadAccess, import_id: RowId) -> Response:
    """Return the rejected lines, each with its number and the reason."""
    run = imports.get(access.session, access.project.id, import_id)
    body = "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in run.rejects)
    name = f"rejects-{run.id}.jsonl"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type="application/jsonl", headers=headers)


@router.get("/p/{slug}/prompts/{prompt_id}")
def show_prompt(request: Request, access: LeadAccess, prompt_id: RowId) -> Response:
    """Show one prompt with its demonstrations and completions."""
    prompt = prompts.get(access.session, access.project.id, prompt_id)
    page = PromptPage(
        prompt,
        prompt_search.tags_by_prompt(access.session, [prompt.id]).get(prompt.id, ()),
        prompts.demonstrations_of(access.session, prompt.id),
        prompts.completions_of(access.session, prompt.id),
    )
    return render(request, "prompts/one.html", page)


def _import_page(access: ProjectAccess, import_id: int) -> ImportPage:
    status = import_jobs.status(access.session, access.project.id, import_id)
    return ImportPage(status, registry.names().get(status.run.format, status.run.format))


def _page(
    access: ProjectAccess,
    chosen: PromptFilter | None = None,
    *,
    order: ListOrder = NEWEST_FIRST,
    error: str = "",
) -> PromptsPage:
    session, project_id = access.session, access.project.id
    chosen = chosen or PromptFilter()
    counts = prompts.counts(session, project_id)
    is_filtered = bool(chosen.to_json())
    listed = prompt_search.page(session, project_id, chosen, order=order)
    return PromptsPage(
        listed,
        ListLinks(order, listed.next, _query_of(chosen)),
        prompt_search.count(session, project_id, chosen) if is_filtered else sum(counts.values()),
        counts,
        demonstrations.count(session, project_id),
        prompt_search.sources(session, project_id),
        prompt_search.categories(session, project_id),
        prompt_search.tags(session, project_id),
        chosen,
        prompt_labels.edits(session, project_id),
        ImportsPage(import_jobs.of_project(session, project_id)),
        registry.names(),
        word_backlog.waiting(session, project_id),
        error,
    )


def _query_of(chosen: PromptFilter) -> dict[str, str]:
    query = chosen.to_json()
    return {"q" if name == "search" else name: value for name, value in query.items()}


def _url(access: ProjectAccess, query: PromptQuery) -> str:
    return addresses.path("prompts.show", slug=access.project.slug, query=_query_of(query.filter()))

"""Prompts, and imports of prompts, demonstrations, completions and preferences."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, BinaryIO, Literal, Self, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from app.db.keyset import ListOrder
from app.domain.states import JobState
from app.errors import Invalid
from app.formats import charsets, column_mapping, registry
from app.formats.preview import FilePreview
from app.models import Prompt, Split
from app.services.datasets import import_jobs, imports
from app.services.project import prompt_search, prompts, word_backlog
from app.services.project.prompt_search import PromptFilter
from app.web import addresses
from app.web.api.jobs import JobOut
from app.web.deps import LeadAccess
from app.web.guarded_route import GuardedRoute, takes_file
from app.web.row_ids import RowId, RowIdQuery

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["prompts"], route_class=GuardedRoute)

_IN_MEMORY = 1 << 20

FILE = {
    "requestBody": {
        "required": True,
        "description": (
            "The file, plain or gzip: one JSON object per line, a JSON array, or CSV. "
            "Alternatively, a form with the field `file`."
        ),
        "content": {
            "application/jsonl": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
        },
    }
}


class Reject(BaseModel):
    """A line that was not imported."""

    line: int
    reason: str
    raw: str = ""


class DuplicatesOut(BaseModel):
    """Rows that added nothing because they were there already; `lines` are the first ones.

    `where` says whether they were in the project before or earlier in the file.
    """

    kind: Literal["prompts", "demonstrations", "completions", "comparisons", "judgments"]
    where: Literal["project", "file"]
    count: int
    lines: list[int]


class ImportOut(BaseModel):
    """The result of an import; while a job runs, of the part it has read."""

    id: int
    state: JobState
    job_id: int | None
    filename: str
    format: str
    sha256: str
    is_evaluation: bool
    counts: dict[str, int]
    rejects: list[Reject]
    duplicates: list[DuplicatesOut]
    remarks: list[str]
    created_at: datetime


class RecordOut(BaseModel):
    """A row as it would be imported, in words."""

    line: int
    kind: str
    prompt: Sequence[str]
    completions: Sequence[str]
    judgments: Sequence[str]


class FilePreviewOut(BaseModel):
    """The first rows of a file as they would be imported; `lost` gives reasons by column.

    The columns in `notes` are kept with the prompt, but are no part of it. `remarks` say how the
    file was read, what would be lost and what would be different.
    """

    file: str | None
    format: str
    title: str
    records: list[RecordOut]
    rejects: list[Reject]
    lost: dict[str, str]
    notes: Sequence[str]
    remarks: list[str]

    @classmethod
    def of(cls, part: FilePreview) -> Self:
        """Return the preview of a file, or of one in an archive."""
        return cls(
            file=part.file,
            format=part.format,
            title=part.title,
            records=[RecordOut(**asdict(record)) for record in part.records],
            rejects=[
                Reject(
                    line=reject.line,
                    reason=reject.reason,
                    raw=reject.raw.decode("utf-8", "replace"),
                )
                for reject in part.rejects
            ],
            lost=part.lost,
            notes=part.notes,
            remarks=list(part.remarks),
        )


class PromptOut(BaseModel):
    """A prompt; `follow_up` holds turns that are asked after the model's response.

    Prompts with one `group_hash` begin alike and share a split; `is_evaluation` marks those that a
    file declared an evaluation set.
    """

    id: int
    messages: list[dict[str, Any]]
    follow_up: list[str]
    split: Split
    is_evaluation: bool
    content_hash: str
    group_hash: str
    source: str
    source_key: str
    category: str
    meta: dict[str, Any]
    created_at: datetime
    tags: Sequence[str] = ()


class PromptsOut(BaseModel):
    """A page of prompts, newest first; `before` requests the next page.

    `unindexed` counts imported texts of the project that a search does not find yet.
    """

    prompts: list[PromptOut]
    before: int | None
    counts: dict[Split, int]
    unindexed: int = 0


async def uploaded(request: Request) -> AsyncIterator[tuple[BinaryIO, str]]:
    """Provide the body as a file, spooled to disk before any transaction starts."""
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        async with request.form() as form:
            field = form.get("file")
            if not isinstance(field, UploadFile):
                raise Invalid("the form has no file in its field 'file'")
            yield field.file, field.filename or ""
        return
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        async for chunk in request.stream():
            file.write(chunk)
        yield cast(BinaryIO, file), request.query_params.get("filename", "upload.jsonl")


Mapped = Annotated[
    Sequence[str],
    Query(
        description=(
            "field=column, such as prompt=question; ignore=column leaves one out; value=WORDS=a "
            "says what a judgment in words of its own means."
        )
    ),
]
Encoding = Annotated[
    str | None,
    Query(description=f"Of plain text: {', '.join(charsets.ENCODINGS)}. Detected by default."),
]
SameLabelers = Annotated[
    bool | None,
    Query(
        description=(
            "Whether votes without a labeler's name are those of an earlier file's unnamed "
            "labelers. By default: if at least half repeat their judgments and none contradicts."
        )
    ),
]
MemberSplits = Annotated[
    bool | None,
    Query(
        description=(
            "Whether the names of files in an archive (train, validation, test) set the split of "
            "their prompts. By default: if they say two or more."
        )
    ),
]
Uploaded = Annotated[tuple[BinaryIO, str], Depends(uploaded)]


@router.get("/formats")
def formats(access: LeadAccess) -> dict[str, str]:
    """Return the import formats with their descriptions."""
    return registry.names()


@router.post(
    "/imports",
    status_code=201,
    openapi_extra=FILE,
    responses={202: {"model": JobOut, "description": "A job imports the file; see Location."}},
)
@takes_file
def import_file(
    body: Uploaded,
    access: LeadAccess,
    response: Response,
    format: Annotated[str | None, Query(description="Detected by default.")] = None,
    filename: Annotated[str, Query(description="Recorded as the source of new rows.")] = "",
    map: Mapped = (),
    evaluation: Annotated[
        bool, Query(description="Declare the prompts an evaluation set.")
    ] = False,
    encoding: Encoding = None,
    same_labelers: SameLabelers = None,
    member_splits: MemberSplits = None,
) -> ImportOut | JobOut:
    """Import prompts, demonstrations, completions or preferences from a file.

    Bad lines are reported and the rest is imported; importing the same file again adds nothing.
    The prompts of an evaluation set go to the test split and are never trained on.
    A job imports a file larger than 1 MB: the status is then 202, and the body is the job, whose
    result names the import.
    """
    file, name = body
    with charsets.in_encoding(file, encoding) as data:
        started = import_jobs.start(
            access.session,
            access.project,
            data,
            filename=filename or name,
            format=format,
            mapping=column_mapping.parse(map),
            author_id=access.user.id,
            is_evaluation=evaluation,
            same_labelers=same_labelers,
            member_splits=member_splits,
        )
    if started.job is None:
        return _import_out(started)
    response.status_code = 202
    url = addresses.path("api.jobs.one", slug=access.project.slug, job_id=started.job.id)
    response.headers["location"] = url
    return JobOut.of(started.job)


@router.post("/imports/preview", openapi_extra=FILE)
@takes_file
def preview_file(
    body: Uploaded,
    access: LeadAccess,
    format: Annotated[str | None, Query(description="Detected by default.")] = None,
    map: Mapped = (),
    encoding: Encoding = None,
    same_labelers: SameLabelers = None,
    member_splits: MemberSplits = None,
) -> list[FilePreviewOut]:
    """Return the first rows of a file as they would be imported; nothing is stored."""
    file, _ = body
    with charsets.in_encoding(file, encoding) as data:
        files = imports.previewed(
            access.session,
            access.project,
            data,
            format=format,
            mapping=column_mapping.parse(map),
            same_labelers=same_labelers,
            member_splits=member_splits,
        )
    return [FilePreviewOut.of(part) for part in files]


@router.get("/imports")
def list_imports(access: LeadAccess) -> list[ImportOut]:
    """Return the imported files, newest first."""
    listed = import_jobs.of_project(access.session, access.project.id)
    return [_import_out(status) for status in listed]


@router.get("/imports/{import_id}")
def show_import(access: LeadAccess, import_id: RowId) -> ImportOut:
    """Return the result of an import."""
    return _import_out(import_jobs.status(access.session, access.project.id, import_id))


@router.get("/prompts")
def list_prompts(
    access: LeadAccess,
    split: Split | None = None,
    search: Annotated[
        str, Query(description='Words by their beginning, all of them; "a phrase" in quotes.')
    ] = "",
    source: str = "",
    category: Annotated[str, Query(description="(none): prompts without a category.")] = "",
    tag: str = "",
    before: RowIdQuery = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> PromptsOut:
    """Return prompts, newest first."""
    chosen = PromptFilter(split, search, source, category, tag)
    order = ListOrder(after=before)
    page = prompt_search.page(access.session, access.project.id, chosen, order=order, limit=limit)
    counts = prompts.counts(access.session, access.project.id)
    rows = [_prompt_out(row.prompt, row.tags) for row in page.rows]
    unindexed = word_backlog.waiting(access.session, access.project.id)
    following = page.next.after if page.next else None
    return PromptsOut(prompts=rows, before=following, counts=counts, unindexed=unindexed)


@router.get("/prompts/{prompt_id}")
def show_prompt(access: LeadAccess, prompt_id: RowId) -> PromptOut:
    """Return one prompt."""
    prompt = prompts.get(access.session, access.project.id, prompt_id)
    tags = prompt_search.tags_by_prompt(access.session, [prompt.id])
    return _prompt_out(prompt, tags.get(prompt.id, ()))


def _import_out(status: import_jobs.ImportStatus) -> ImportOut:
    run = status.run
    return ImportOut(
        id=run.id,
        state=status.state,
        job_id=None if status.job is None else status.job.id,
        filename=run.filename,
        format=run.format,
        sha256=run.sha256,
        is_evaluation=run.is_evaluation,
        counts=run.counts,
        rejects=[Reject(**reject) for reject in run.rejects],
        duplicates=[DuplicatesOut(**each) for each in run.duplicates],
        remarks=run.remarks,
        created_at=run.created_at,
    )


def _prompt_out(prompt: Prompt, tags: Sequence[str]) -> PromptOut:
    out = PromptOut.model_validate(prompt, from_attributes=True)
    return out.model_copy(update={"tags": tags})

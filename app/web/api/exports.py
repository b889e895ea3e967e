"""Exports: creating one, its contents and what it left out, and downloading it."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.formats import containers
from app.formats.containers import Container
from app.models import Export
from app.services.datasets import export_options, export_rows, exports
from app.services.datasets.judged_comparisons import ExportOptions
from app.web import export_files
from app.web.deps import LeadAccess
from app.web.downloads import TAR
from app.web.guarded_route import GuardedRoute
from app.web.openapi import files, problems
from app.web.row_ids import RowId

router = APIRouter(
    prefix="/api/v1/projects/{slug}/exports", tags=["exports"], route_class=GuardedRoute
)


class ExportIn(BaseModel):
    """The format and options of an export; omitted options have their defaults.

    `container` is jsonl, jsonl.gz, parquet or csv. `since` is a time or the number of an earlier
    export: only comparisons that were judged or settled after it. `license` is stated on the card.
    """

    format: str = export_options.DEFAULT_FORMAT
    options: dict[str, Any] = {}


class ExportOut(BaseModel):
    """An export with its manifest; `options` are those that the format applies.

    `bytes` and `sha256` are those of the file.
    `counts` says of each unit (comparisons, judgments, and pairs or demonstrations where the format
    has them) how many were considered, exported, and excluded by reason; they add up.
    """

    number: int
    format: str
    container: Container
    options: dict[str, Any]
    state: str
    error: str
    rows: int
    bytes: int
    sha256: str
    counts: dict[str, dict[str, Any]]
    manifest: dict[str, Any]
    job_id: int | None
    created_at: datetime
    ready_at: datetime | None


@router.get("/formats")
def formats(access: LeadAccess) -> dict[str, str]:
    """Return the export formats with their descriptions."""
    return dict(export_rows.TITLES)


@router.get("/containers")
def list_containers(access: LeadAccess) -> dict[str, list[Container]]:
    """Return the containers that each export format can be written in."""
    return {format: containers.of_format(format) for format in export_rows.TITLES}


@router.post("", status_code=202)
def create(access: LeadAccess, body: ExportIn) -> ExportOut:
    """Create an export, which a job writes."""
    made = exports.create(
        access.session,
        access.project,
        format=body.format,
        options=ExportOptions.from_json(body.options),
        created_by_id=access.user.id,
    )
    return _out(access.session, made)


@router.get("")
def list_exports(access: LeadAccess) -> list[ExportOut]:
    """Return the exports, newest first."""
    listed = exports.of_project(access.session, access.project.id)
    return [_out(access.session, export) for export in listed]


@router.get("/{number}")
def show(access: LeadAccess, number: RowId) -> ExportOut:
    """Return an export with its manifest."""
    return _out(access.session, exports.get(access.session, access.project.id, number))


@router.get(
    "/{number}/download",
    response_class=Response,
    responses=files(*containers.MEDIA_TYPES.values(), in_parts=True) | problems(409),
)
def download(access: LeadAccess, request: Request, number: RowId) -> Response:
    """Send the file of an export, or the part that a `Range` request asks for."""
    export = exports.get(access.session, access.project.id, number)
    return export_files.file(request, access.session, access.project, export)


@router.get("/{number}/folder", response_class=Response, responses=files(TAR) | problems(409))
def download_folder(access: LeadAccess, request: Request, number: RowId) -> Response:
    """Send the folder of an export as a tar: the data, the manifest and the data-set card."""
    export = exports.get(access.session, access.project.id, number)
    return export_files.folder(request, access.session, access.project, export)


def _out(session: Session, row: Export) -> ExportOut:
    state, error = exports.state_of(session, row)
    return ExportOut(
        number=row.number,
        format=row.format,
        container=export_files.container_of(row),
        options=row.options,
        state=state,
        error=error,
        rows=row.rows,
        bytes=row.bytes,
        sha256=row.sha256,
        counts=exports.counts(row),
        manifest=row.manifest,
        job_id=row.job_id,
        created_at=row.created_at,
        ready_at=row.ready_at,
    )

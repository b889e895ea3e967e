"""Exports: creating one, its contents and what it left out, and downloading it."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.errors import Conflict
from app.models import Export
from app.services.datasets import export_options, export_rows, exports
from app.services.datasets.judged_comparisons import ExportOptions
from app.web import downloads
from app.web.deps import LeadAccess

router = APIRouter(prefix="/api/v1/projects/{slug}/exports", tags=["exports"])


class ExportIn(BaseModel):
    """The format and options of an export; omitted options have their defaults."""

    format: str = export_options.DEFAULT_FORMAT
    options: dict[str, Any] = {}


class ExportOut(BaseModel):
    """An export with its manifest; `options` are those that the format applies.

    `counts` says of each unit (comparisons, judgments, and pairs or demonstrations where the format
    has them) how many were considered, exported, and excluded by reason; they add up.
    """

    number: int
    format: str
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
def show(access: LeadAccess, number: int) -> ExportOut:
    """Return an export with its manifest."""
    return _out(access.session, exports.get(access.session, access.project.id, number))


@router.get("/{number}/download")
def download(access: LeadAccess, request: Request, number: int) -> Response:
    """Send the file of an export, or the part that a `Range` request asks for."""
    export = exports.get(access.session, access.project.id, number)
    if export.state != exports.READY:
        raise Conflict(f"export {number} is {export.state}; it has no file yet")
    name = f"{access.project.slug}-export-{number}-{export.format}.jsonl"
    return downloads.file(request, export.uri, name)


def _out(session: Session, row: Export) -> ExportOut:
    state, error = exports.state_of(session, row)
    return ExportOut(
        number=row.number,
        format=row.format,
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

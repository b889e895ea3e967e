"""Exports: ask for one, see what is in it and why not the rest, fetch its bytes."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.errors import Conflict
from app.models import Export
from app.services.datasets import export_rows, exports
from app.services.datasets.judged_comparisons import ExportOptions
from app.web import downloads
from app.web.deps import LeadAccess

router = APIRouter(prefix="/api/v1/projects/{slug}/exports", tags=["exports"])


class ExportIn(BaseModel):
    """What to export. Options that are left out have their defaults."""

    format: str
    options: dict[str, Any] = {}


class ExportOut(BaseModel):
    """An export with its manifest."""

    number: int
    format: str
    options: dict[str, Any]
    state: str
    error: str
    rows: int
    bytes: int
    sha256: str
    manifest: dict[str, Any]
    job_id: int | None
    created_at: datetime
    ready_at: datetime | None


@router.get("/formats")
def formats(access: LeadAccess) -> dict[str, str]:
    """Return the formats on offer, with what they are for."""
    return dict(export_rows.TITLES)


@router.post("", status_code=202)
def create(access: LeadAccess, body: ExportIn) -> ExportOut:
    """Ask for an export; a job writes it."""
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
    found = exports.of_project(access.session, access.project.id)
    return [_out(access.session, each) for each in found]


@router.get("/{number}")
def show(access: LeadAccess, number: int) -> ExportOut:
    """Return an export with its manifest."""
    return _out(access.session, exports.get(access.session, access.project.id, number))


@router.get("/{number}/download")
def download(access: LeadAccess, request: Request, number: int) -> Response:
    """Send an export's bytes; `Range` requests resume."""
    found = exports.get(access.session, access.project.id, number)
    if found.state != exports.READY:
        raise Conflict(f"export {number} is {found.state}; it has no bytes yet")
    name = f"{access.project.slug}-export-{number}-{found.format}.jsonl"
    return downloads.file(request, found.uri, name)


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
        manifest=row.manifest,
        job_id=row.job_id,
        created_at=row.created_at,
        ready_at=row.ready_at,
    )

"""Checkpoints: what there is, where it comes from, and its files."""

from datetime import datetime
from fnmatch import fnmatch
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.errors import Invalid, NotFound
from app.models import Checkpoint, CheckpointKind, Export
from app.services.checkpoints import checkpoints
from app.services.judging import revisions
from app.web import downloads
from app.web.deps import LeadAccess

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["checkpoints"])


class CheckpointOut(BaseModel):
    """A model on disk."""

    id: int
    kind: str
    name: str
    state: str
    parent_id: int | None
    round_id: int | None
    uri: str
    sha256: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    created_at: datetime


class ExportRef(BaseModel):
    """An export that a model was trained on."""

    number: int
    format: str
    rows: int
    sha256: str


class LineageOut(BaseModel):
    """Where a model comes from and what came of it."""

    ancestors: list[CheckpointOut]
    children: list[CheckpointOut]
    exports: list[ExportRef]
    judgments: int
    labelers: int
    guidelines_versions: list[int]


class CheckpointDetail(CheckpointOut):
    """A model with its lineage."""

    lineage: LineageOut


class BaseModelIn(BaseModel):
    """A base model to register: a local path or a hub name."""

    uri: str


@router.get("/checkpoints")
def list_checkpoints(access: LeadAccess, kind: CheckpointKind | None = None) -> list[CheckpointOut]:
    """Return the models, newest first."""
    found = checkpoints.of_project(access.session, access.project.id, kind)
    return [checkpoint_out(each) for each in found]


@router.post("/checkpoints", status_code=201)
def register(access: LeadAccess, request: Request, body: BaseModelIn) -> CheckpointOut:
    """Register a base model."""
    allowed: str = request.app.state.settings.allowed_base_models
    if not any(fnmatch(body.uri, pattern.strip()) for pattern in allowed.split(",")):
        raise Invalid(f"base model {body.uri!r} is not among those allowed here: {allowed}")
    return checkpoint_out(checkpoints.register_base(access.session, access.project, body.uri))


@router.get("/checkpoints/{checkpoint_id}")
def show(access: LeadAccess, checkpoint_id: int) -> CheckpointDetail:
    """Return a model with its lineage, up to every vote and down to its children."""
    found = checkpoints.get(access.session, access.project.id, checkpoint_id)
    lineage = checkpoints.lineage(access.session, found)
    return CheckpointDetail(
        **checkpoint_out(found).model_dump(),
        lineage=LineageOut(
            ancestors=[checkpoint_out(each) for each in lineage.ancestors],
            children=[checkpoint_out(each) for each in lineage.children],
            exports=[_export_ref(each) for each in lineage.exports],
            judgments=lineage.judgments,
            labelers=lineage.labelers,
            guidelines_versions=list(lineage.guidelines_versions),
        ),
    )


@router.get("/checkpoints/{checkpoint_id}/judgments")
def judgments(access: LeadAccess, checkpoint_id: int, after: int = 0) -> list[int]:
    """Return ids of the votes that a model was trained on, a page at a time."""
    found = checkpoints.get(access.session, access.project.id, checkpoint_id)
    return [each.id for each in checkpoints.judgments(access.session, found.id, after=after)]


@router.get("/checkpoints/{checkpoint_id}/download")
def download(access: LeadAccess, request: Request, checkpoint_id: int) -> Response:
    """Send a model's folder as a tar."""
    found = checkpoints.get(access.session, access.project.id, checkpoint_id)
    if found.kind == CheckpointKind.BASE:
        raise NotFound(f"{found.name} was not made here; it is at {found.uri}")
    name = f"{access.project.slug}-{found.name.lower().replace(' ', '-')}"
    return downloads.tar(request, found.uri, name)


@router.post("/checkpoints/{checkpoint_id}/retire")
def retire(access: LeadAccess, checkpoint_id: int) -> CheckpointOut:
    """Mark a model as no longer to be used."""
    found = checkpoints.get(access.session, access.project.id, checkpoint_id)
    checkpoints.retire(access.session, found)
    return checkpoint_out(found)


@router.get("/judgments/{judgment_id}/checkpoints")
def trained_on(access: LeadAccess, judgment_id: int) -> list[CheckpointOut]:
    """Return every model that a vote went into."""
    judgment = revisions.in_project(access.session, access.project.id, judgment_id)
    trained = checkpoints.trained_on(access.session, judgment.id)
    return [checkpoint_out(checkpoint) for checkpoint in trained]


def checkpoint_out(row: Checkpoint) -> CheckpointOut:
    """Return a checkpoint as the API shows it."""
    return CheckpointOut(
        id=row.id,
        kind=row.kind,
        name=row.name,
        state=row.state,
        parent_id=row.parent_id,
        round_id=row.round_id,
        uri=row.uri,
        sha256=row.sha256,
        config=row.config,
        metrics=row.metrics,
        created_at=row.created_at,
    )


def _export_ref(row: Export) -> ExportRef:
    return ExportRef(number=row.number, format=row.format, rows=row.rows, sha256=row.sha256)

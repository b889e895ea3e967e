"""Checkpoints: the list, lineage and files of the models."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.errors import NotFound
from app.models import Checkpoint, CheckpointKind, Export, Job
from app.services.checkpoints import base_models, checkpoints, hub_pushes, merged_models
from app.services.checkpoints.hub_pushes import HubPush
from app.services.checkpoints.merged_models import MergedFolder
from app.services.judging import revisions
from app.web import downloads
from app.web.deps import LeadAccess, allowed_models
from app.web.downloads import TAR
from app.web.guarded_route import GuardedRoute
from app.web.openapi import files
from app.web.row_ids import RowId

router = APIRouter(prefix="/api/v1/projects/{slug}", tags=["checkpoints"], route_class=GuardedRoute)


class CheckpointOut(BaseModel):
    """A model."""

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
    """The ancestors of a model, what it was trained on, and the models trained from it."""

    ancestors: list[CheckpointOut]
    children: list[CheckpointOut]
    exports: list[ExportRef]
    judgments: int
    labelers: int
    guidelines_versions: list[int]
    instruction_versions: list[int]


class CheckpointDetail(CheckpointOut):
    """A model with its lineage."""

    lineage: LineageOut


class BaseModelIn(BaseModel):
    """A base model to register: a local path or a hub name."""

    uri: str


class MergedOut(BaseModel):
    """A merge of a model: its job, and the folder once it is ready."""

    job_id: int
    state: str
    error: str
    member: str
    uri: str
    dtype: str
    bytes: int


class PushIn(BaseModel):
    """Where to upload a model, and what: its own folder, or a merged one that is ready."""

    name: str = Field(description="On the hub, such as desk/library-policy.")
    private: bool = True
    merged: bool = False
    member: str = Field("", description="Of a merged ensemble: which of its models.")


class PushOut(BaseModel):
    """An upload: its job, how many of how many MiB are sent, and the address once it is done."""

    job_id: int
    state: str
    error: str
    name: str
    private: bool
    merged: bool
    done_mib: int
    total_mib: int
    note: str
    url: str


@router.get("/checkpoints")
def list_checkpoints(access: LeadAccess, kind: CheckpointKind | None = None) -> list[CheckpointOut]:
    """Return the models, newest first."""
    listed = checkpoints.of_project(access.session, access.project.id, kind)
    return [checkpoint_out(checkpoint) for checkpoint in listed]


@router.post("/checkpoints", status_code=201)
def register(access: LeadAccess, request: Request, body: BaseModelIn) -> CheckpointOut:
    """Register a base model, and have it checked."""
    row = base_models.add(
        access.session,
        access.project,
        body.uri.strip(),
        allowed_models(request),
        actor_id=access.user.id,
    )
    return checkpoint_out(row)


@router.get("/checkpoints/{checkpoint_id}")
def show(access: LeadAccess, checkpoint_id: RowId) -> CheckpointDetail:
    """Return a model with its lineage, from its judgments to the models trained from it."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    lineage = checkpoints.lineage(access.session, checkpoint)
    return CheckpointDetail(
        **checkpoint_out(checkpoint).model_dump(),
        lineage=LineageOut(
            ancestors=[checkpoint_out(ancestor) for ancestor in lineage.ancestors],
            children=[checkpoint_out(child) for child in lineage.children],
            exports=[_export_ref(export) for export in lineage.exports],
            judgments=lineage.judgments,
            labelers=lineage.labelers,
            guidelines_versions=list(lineage.guidelines_versions),
            instruction_versions=list(lineage.instruction_versions),
        ),
    )


@router.get("/checkpoints/{checkpoint_id}/judgments")
def judgments(access: LeadAccess, checkpoint_id: RowId, after: int = 0) -> list[int]:
    """Return the ids of the judgments that a model was trained on, one page at a time."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    rows = checkpoints.judgments(access.session, checkpoint.id, after=after)
    return [judgment.id for judgment in rows]


@router.get("/checkpoints/{checkpoint_id}/download", response_class=Response, responses=files(TAR))
def download(access: LeadAccess, request: Request, checkpoint_id: RowId) -> Response:
    """Send the folder of a model as a tar."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    if checkpoint.kind == CheckpointKind.BASE:
        raise NotFound(f"{checkpoint.name} is not stored here; it is at {checkpoint.uri}")
    name = f"{access.project.slug}-{checkpoint.name.lower().replace(' ', '-')}"
    return downloads.tar(request, checkpoint.uri, name)


@router.post("/checkpoints/{checkpoint_id}/merge", status_code=202)
def merge(access: LeadAccess, checkpoint_id: RowId, member: str = "") -> MergedOut:
    """Have a worker merge a model into one folder that plain transformers and vLLM load."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    job = merged_models.request(access.session, checkpoint, member, user_id=access.user.id)
    return _merged_out(MergedFolder(job, member))


@router.get("/checkpoints/{checkpoint_id}/merged")
def list_merged(access: LeadAccess, checkpoint_id: RowId) -> list[MergedOut]:
    """Return the merges of a model that were requested."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    merged = merged_models.of_checkpoint(access.session, checkpoint)
    return [_merged_out(one) for one in merged]


@router.get(
    "/checkpoints/{checkpoint_id}/merged/download", response_class=Response, responses=files(TAR)
)
def download_merged(
    access: LeadAccess, request: Request, checkpoint_id: RowId, member: str = ""
) -> Response:
    """Send the merged folder of a model as a tar."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    merged = merged_models.ready(access.session, checkpoint, member)
    return downloads.tar(request, merged.uri, f"{access.project.slug}-{checkpoint.id}-merged")


@router.post("/checkpoints/{checkpoint_id}/push", status_code=202)
def push(access: LeadAccess, checkpoint_id: RowId, body: PushIn) -> PushOut:
    """Have a worker upload a model to a hub, with the token of the worker's environment."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    wanted = HubPush(body.name, body.private, body.merged, body.member)
    return _push_out(hub_pushes.request(access.session, checkpoint, wanted, user_id=access.user.id))


@router.get("/checkpoints/{checkpoint_id}/pushes")
def list_pushes(access: LeadAccess, checkpoint_id: RowId) -> list[PushOut]:
    """Return the newest uploads of a model, newest first."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    return [_push_out(job) for job in hub_pushes.of_checkpoint(access.session, checkpoint)]


@router.post("/checkpoints/{checkpoint_id}/retire")
def retire(access: LeadAccess, checkpoint_id: RowId) -> CheckpointOut:
    """Retire a model, so that nothing new uses it."""
    checkpoint = checkpoints.get(access.session, access.project.id, checkpoint_id)
    checkpoints.retire(access.session, checkpoint)
    return checkpoint_out(checkpoint)


@router.get("/judgments/{judgment_id}/checkpoints")
def trained_on(access: LeadAccess, judgment_id: RowId) -> list[CheckpointOut]:
    """Return all models that were trained on a judgment."""
    judgment = revisions.in_project(access.session, access.project.id, judgment_id)
    trained = checkpoints.trained_on(access.session, judgment.id)
    return [checkpoint_out(checkpoint) for checkpoint in trained]


def checkpoint_out(row: Checkpoint) -> CheckpointOut:
    """Return a checkpoint in the form of the API."""
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


def _merged_out(merged: MergedFolder) -> MergedOut:
    result = merged.job.result
    return MergedOut(
        job_id=merged.job.id,
        state=merged.job.state,
        error=merged.job.error,
        member=merged.member,
        uri=merged.uri,
        dtype=str(result.get("dtype", "")),
        bytes=int(result.get("bytes", 0)),
    )


def _push_out(job: Job) -> PushOut:
    return PushOut(
        job_id=job.id,
        state=job.state,
        error=job.error,
        name=job.payload["name"],
        private=job.payload["private"],
        merged=job.payload["merged"],
        done_mib=job.progress_done,
        total_mib=job.progress_total,
        note=job.progress_note,
        url=str(job.result.get("url", "")),
    )


def _export_ref(row: Export) -> ExportRef:
    return ExportRef(number=row.number, format=row.format, rows=row.rows, sha256=row.sha256)

"""Merges a checkpoint into one folder that plain transformers and vLLM load."""

import shutil
from pathlib import Path
from typing import Final

from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind
from app.services.checkpoints import checkpoints
from worker.runs.data import checkpoint_weights
from worker.runs.data.checkpoint_weights import Layers
from worker.runs.process.job_context import JobContext
from worker.training import merged_export
from worker.training.merged_export import MergeSource

DEVICE: Final = "cpu"  # a merge is a few sums, and must not take memory from a training


def run(context: JobContext) -> None:
    """Merge the checkpoint of the payload, and publish the folder."""
    with context.database.reader() as session:
        project_id = int(context.project_id or 0)
        checkpoint = checkpoints.get(session, project_id, context.payload["checkpoint_id"])
        beneath = checkpoint_weights.layers(session, checkpoint)
    source = source_of(context, checkpoint, beneath, str(context.payload.get("member", "")))
    target = context.workdir / "merged"
    shutil.rmtree(target, ignore_errors=True)  # of an attempt that was killed
    made = merged_export.export(source, target, context.report, DEVICE)
    if context.store.is_local:
        merged_export.refuse_full_disk(Path(context.store.root) / "merged", made.bytes)
    published = context.publish(target, "merged")
    facts = {**made.to_json(), "folder": published.uri, "sha256": published.sha256}
    context.succeed(lambda _session: {"checkpoint_id": checkpoint.id, **facts})


def source_of(
    context: JobContext, checkpoint: Checkpoint, beneath: Layers, member: str
) -> MergeSource:
    """Return what is merged: the checkpoint's adapter with the full model that it builds on."""
    if checkpoint.kind == CheckpointKind.BASE:
        raise Invalid(f"{checkpoint.name} is a base model; it is at {checkpoint.uri} as it is")
    folder = checkpoint_weights.fetch(context, checkpoint)
    if beneath.whole.id == checkpoint.id:
        return MergeSource(checkpoint.name, str(folder), None, checkpoint.config)
    base = checkpoint_weights.source(context, beneath.whole)
    found = merged_export.source_of(folder / member, lambda _folder: base, checkpoint.name)
    return MergeSource(found.name, found.folder, base, checkpoint.config)

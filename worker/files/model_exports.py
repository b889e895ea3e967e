"""Exports of models by folder, or by the name of a checkpoint in a project."""

from importlib import import_module
from pathlib import Path

from app.errors import NotFound
from worker.files.models import base_of, located
from worker.training import merged_export
from worker.training.merged_export import MergedModel, Report


def export(model: str, target: Path, report: Report, *, project: str | None = None) -> MergedModel:
    """Merge a model into a new folder.

    Raises:
        NotFound: there is no such folder or checkpoint.
    """
    name = model if project is None else _folder_of(project, model)
    folder = Path(located(name))
    if not folder.is_dir():
        raise NotFound(
            f"there is no folder {model}; a model of the hub needs no merging, and a checkpoint is "
            "named together with --project"
        )
    source = merged_export.source_of(folder, base_of, model)
    return merged_export.export(source, target, report)


def _folder_of(slug: str, name: str) -> str:
    # The database packages are needed only for checkpoints of a project.
    return str(import_module("worker.runs.data.stored_checkpoints").folder_of(slug, name))

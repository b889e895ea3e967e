"""Exports of models by folder: their own, or the one that a run left in it."""

from pathlib import Path

from app.errors import NotFound
from worker.training import merged_export
from worker.training.merged_export import MergedModel, Report
from worker.training.model_folders import base_of, located


def export(model: str, target: Path, report: Report, *, title: str = "") -> MergedModel:
    """Merge a model into a new folder; `title` is its name on the card.

    Raises:
        NotFound: there is no such folder.
    """
    folder = Path(located(model))
    if not folder.is_dir():
        raise NotFound(
            f"there is no folder {model}; a model of the hub needs no merging, and a checkpoint is "
            "named together with --project"
        )
    source = merged_export.source_of(folder, base_of, title or folder.name)
    return merged_export.export(source, target, report)

"""A trained model as one folder that plain transformers and vLLM load.

Adapters are merged layer by layer in fp32 and rounded once, to the precision in which the base is
stored. The folder is complete or absent. Which checkpoint it is, and who may have it, is decided
elsewhere.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.errors import Conflict, Invalid
from worker import artifacts, libraries
from worker.rlhf.model import models, saving
from worker.rlhf.model.roles import BASE, Roles
from worker.training import loading_code
from worker.training.model_folders import ADAPTER, TRAINING

MERGED: Final = "merged"
STEPS: Final = 3
SPARE: Final = 1.02  # tokenizer, configuration and card beside the weights

Report = Callable[[int, int, str], object]


@dataclass(frozen=True, slots=True)
class MergeSource:
    """What is merged: a folder with an adapter, or with a whole model, and its base.

    Attributes:
        name: of the model, for messages and the card.
        folder: the adapter or the whole model.
        base: the path or hub name of the adapter's base; None for a whole model.
        settings: of the training, as recorded on its card.
    """

    name: str
    folder: str
    base: str | None
    settings: Mapping[str, Any]

    @property
    def is_reward(self) -> bool:
        """Whether the adapter has a head that scores."""
        return self.base is not None and _task(Path(self.folder)) == loading_code.CLASSIFIER


@dataclass(frozen=True, slots=True)
class MergedModel:
    """A finished folder."""

    folder: Path
    kind: str
    dtype: str
    parameters: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return {
            "folder": str(self.folder),
            "kind": self.kind,
            "dtype": self.dtype,
            "parameters": self.parameters,
            "bytes": self.bytes,
        }


def source_of(folder: Path, base_of: Callable[[Path], str], name: str) -> MergeSource:
    """Return what to merge for a model folder; of a reward model, its only member.

    Raises:
        Invalid: the folder holds several members, of which one must be named.
    """
    settings = _settings(folder)
    if (folder / ADAPTER).is_file():
        return MergeSource(name, str(folder), base_of(folder), settings or _settings(folder.parent))
    members = sorted(path.parent for path in folder.glob(f"*/{ADAPTER}"))
    if len(members) > 1:
        names = ", ".join(str(member) for member in members)
        raise Invalid(
            f"{name} is an ensemble of {len(members)} reward models, and one model can hold one of "
            f"them; name the folder of one: {names}"
        )
    if members:
        return MergeSource(name, str(members[0]), base_of(members[0]), settings)
    return MergeSource(name, str(folder), None, settings)


def refuse_target(target: Path) -> None:
    """Refuse a place that holds something already.

    Raises:
        Conflict: it does.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise Conflict(f"{target} exists already; name a new or empty folder")


def export(source: MergeSource, target: Path, report: Report, device: str = "cpu") -> MergedModel:
    """Merge, and put the folder in place atomically.

    Raises:
        Invalid: the model cannot be loaded or merged, or the disk has too little space.
        Conflict: the target exists already.
    """
    refuse_target(target)
    _refuse_task(source)
    report(0, STEPS, f"loading {source.base or source.folder}")
    roles, role = _loaded(source, device)
    size = sum(p.numel() * p.element_size() for p in roles.causal.parameters())
    refuse_full_disk(target, int(size * SPARE))
    report(1, STEPS, "merging and writing the weights")
    kind = "reward model" if source.is_reward else "language model"

    def write(folder: Path) -> None:
        _write(roles, role, folder)
        report(2, STEPS, "checking the files")
        _describe(source, roles, folder)

    artifacts.save(target, write)
    report(STEPS, STEPS, "finished")
    written = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    dtype = str(roles.causal.dtype).removeprefix("torch.")
    return MergedModel(target, kind, dtype, roles.causal.num_parameters(), written)


def refuse_full_disk(target: Path, needed: int) -> None:
    """Refuse to start writing what the disk cannot hold.

    Raises:
        Invalid: naming the place, what is needed and what is free.
    """
    place = next(parent for parent in target.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise Invalid(
            f"the merged model needs {_gib(needed)} and the disk of {place} has {_gib(free)} free; "
            "free some space, or choose another place"
        )


def _refuse_task(source: MergeSource) -> None:
    if source.base is None:
        return
    task = _task(Path(source.folder))
    if task not in {loading_code.CLASSIFIER, *loading_code.WRITERS}:
        raise Invalid(
            f"{source.name} is an adapter for {task}, which no merged model can hold: a reward "
            "model on an encoder–decoder scores a response in the decoder, and stays an adapter"
        )


def _loaded(source: MergeSource, device: str) -> tuple[Roles, str]:
    origin = source.base or source.folder
    try:
        roles = Roles(models.load(origin, dtype="auto", device=device))
        if source.base is None:
            return roles, BASE
        if source.is_reward:
            saving.load_reward(roles, source.folder, MERGED)
        else:
            saving.load_policy(roles, source.folder, MERGED)
    except (OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Invalid(f"{source.name} cannot be merged: {first}") from error
    return roles, MERGED


def _write(roles: Roles, role: str, folder: Path) -> None:
    if role == BASE:
        saving.save_full(roles.loaded, folder)
    elif role in roles.heads:
        saving.save_reward(roles, folder, merged=True, role=role)
    else:
        saving.save_policy(roles, folder, merged=True, role=role)


def _describe(source: MergeSource, roles: Roles, folder: Path) -> None:
    """Write the card and the settings of the training, and see that no adapter is left."""
    left = [path.name for path in folder.iterdir() if path.name.startswith("adapter_")]
    if left:
        raise RuntimeError(f"the merged folder must hold no adapter, but has {left[0]}")
    training = Path(source.folder) / TRAINING
    if not training.is_file():
        training = Path(source.folder).parent / TRAINING
    if training.is_file():
        shutil.copyfile(training, folder / TRAINING)
    settings = {**source.settings, **roles.loaded.record}
    dtype = str(roles.causal.dtype).removeprefix("torch.")
    lines = [
        f"# {source.name}, merged",
        "",
        f"Base: `{source.base}`, with the adapter merged." if source.base else "A whole model.",
        f"The weights are in {dtype}, as those of the base are stored.",
        "",
        *loading_code.section(folder, settings),
        *_serving(source),
        f"Versions: {json.dumps(libraries.versions())}",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _serving(source: MergeSource) -> list[str]:
    if source.is_reward:
        return [
            "Only the learned score is in this folder: rules and classifiers that a round adds to "
            "the reward are not.",
            "",
        ]
    return ["With vLLM: `vllm serve .`", ""]


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / TRAINING
    if not path.is_file():
        return {}
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("settings", {})
    return settings


def _task(folder: Path) -> str:
    config: dict[str, Any] = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    return str(config.get("task_type"))


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"

"""Model folders: where a run left its model, and what its adapters are adapters of."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.errors import Invalid
from worker import artifacts

ADAPTER: Final = "adapter_config.json"
TRAINING: Final = "training.json"  # the card for programs
MODEL: Final = "model"  # below the folder that a run writes
RUN: Final = "run.json"  # the settings of that run


@dataclass(frozen=True, slots=True)
class RewardFolder:
    """A reward model that Attune trained: its folder, its base, and the names of its adapters."""

    folder: Path
    base: str
    names: tuple[str, ...]
    settings: dict[str, Any]


def located(name: str) -> str:
    """Return a model's location: the folder itself, the one a run left in it, or the hub name.

    Raises:
        Invalid: the folder is that of a run that has not left its model yet.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return name
    inner = folder / MODEL
    is_model = any((folder / file).exists() for file in ("config.json", ADAPTER))
    if not is_model and (inner / artifacts.MANIFEST).is_file():
        return str(inner.resolve())
    if not is_model and (folder / RUN).is_file():
        raise Invalid(
            f"{name} has no model yet: its training has not finished; wait for it or, if it was "
            "interrupted, continue it with the same `attune train` command"
        )
    return str(folder.resolve())


def base_of(folder: Path) -> str:
    """Return the base model of an adapter."""
    base = str(adapter_config(folder).get("base_model_name_or_path") or "")
    if not base:
        raise Invalid(f"{folder / ADAPTER} does not name the adapter's base model")
    return located(base)


def adapter_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of an adapter.

    Raises:
        Invalid: it cannot be read.
    """
    try:
        config: dict[str, Any] = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Invalid(f"{folder / ADAPTER} cannot be read: {first_line(error)}") from error
    return config


def is_trained_here(name: str) -> bool:
    """Whether a folder has the card of a training."""
    return (Path(located(name)) / TRAINING).is_file()


def reward_folder(name: str) -> RewardFolder:
    """Return a reward model that Attune trained.

    Raises:
        Invalid: the folder has no card, or it is that of another model.
    """
    folder = Path(located(name))
    card = folder / TRAINING
    if not card.is_file():
        raise Invalid(f"{name} has no {TRAINING}; it must be a reward model trained by attune")
    settings: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))["settings"]
    if "normaliser" not in settings:
        raise Invalid(f"{name} is not a reward model: its {TRAINING} has no normaliser")
    names = tuple(settings["names"])
    return RewardFolder(folder, base_of(folder / names[0]), names, settings)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

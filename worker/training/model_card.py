"""What lies beside a model's weights: how it came about, for machines and for people."""

import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from worker.training import training_loop
from worker.training.training_loop import Place

TRAINING = "training.json"
PACKAGES = ("attune", "torch", "transformers", "peft")


@dataclass(frozen=True, slots=True)
class Card:
    """A model's origin: its kind, what it was trained on and how, and how it did."""

    title: str
    project: str
    round_number: int
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]
    parents: Mapping[str, str] = field(default_factory=dict)  # name -> hash of its manifest
    data: Mapping[str, Any] = field(default_factory=dict)  # the frozen export: number, hash, counts

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain values, with the versions of what made it."""
        return {
            "kind": self.title,
            "project": self.project,
            "round": self.round_number,
            "parents": dict(self.parents),
            "data": dict(self.data),
            "settings": dict(self.settings),
            "metrics": dict(self.metrics),
            "versions": versions(),
        }

    def text(self) -> str:
        """Return the card in Markdown."""
        parents = ", ".join(self.parents) or "none"
        title = f"{self.title} of round {self.round_number}, {self.project}"
        return markdown(title, [f"Parents: {parents}"], self.metrics)


def markdown(title: str, facts: Sequence[str], metrics: Mapping[str, Any]) -> str:
    """Return a short card for people; of the metrics, the plain numbers."""
    lines = [f"# {title}", "", *facts, "", "| metric | value |", "| --- | --- |"]
    lines += [
        f"| {name} | {value:.4g} |"
        for name, value in sorted(metrics.items())
        if isinstance(value, int | float)
    ]
    return "\n".join([*lines, "", f"Settings, data and versions are in `{TRAINING}`.", ""])


class Origin(Protocol):
    """What is told of a model, whoever made it."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""

    def text(self) -> str:
        """Return it in Markdown."""


def fill(context: Place, folder: Path, card: Origin, write: Callable[[Path], object]) -> None:
    """Fill a fresh folder with the weights, their card and the curves of the run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder)
    text = json.dumps(card.to_json(), indent=1, sort_keys=True, default=str)
    (folder / TRAINING).write_text(text + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card.text(), encoding="utf-8")
    board = context.workdir / training_loop.BOARD
    if board.is_dir():
        shutil.copytree(board, folder / training_loop.BOARD)


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""

"""The card stored with a model's weights: how it was made, as JSON and as Markdown."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.domain import model_size
from worker import libraries
from worker.training import loading_code, trained_parameters, training_loop
from worker.training.model_folders import TRAINING
from worker.training.training_loop import RunPlace


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The origin of a model.

    Attributes:
        kind: "SFT", "Reward model" or "Policy".
        heading: the title for people.
        settings: of the training.
        metrics: of the model.
        parents: the name of each parent model, with its manifest's hash or its fingerprint.
        data: the frozen export, or the files, that the model was trained on.
        origin: further fields of the JSON form: the project and the round.
        facts: further lines of the text form.
    """

    kind: str
    heading: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]
    parents: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] | Sequence[Mapping[str, Any]] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    facts: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain values, with the versions of the software."""
        return {
            "kind": self.kind,
            **self.origin,
            "parents": dict(self.parents),
            "data": dict(self.data)
            if isinstance(self.data, Mapping)
            else [dict(file) for file in self.data],
            "settings": dict(self.settings),
            "metrics": dict(self.metrics),
            "versions": libraries.versions(),
        }

    def text(self, loading: Sequence[str] = ()) -> str:
        """Return a short card in Markdown: the metrics that are numbers, and how to load it."""
        parents = ", ".join(self.parents) or "none"
        facts = [
            line for fact in (*self.facts, *self._size(), *self._search()) for line in ("", fact)
        ]
        rows = [
            f"| {name} | {value:.4g} |"
            for name, value in sorted(self.metrics.items())
            if isinstance(value, int | float)
        ]
        return "\n".join(
            [
                *(f"# {self.heading}", "", f"Parents: {parents}", *facts, ""),
                *("| metric | value |", "| --- | --- |", *rows),
                *(("", *loading) if loading else ()),
                *("", f"Settings, data and versions are in `{TRAINING}`.", ""),
            ]
        )

    def _search(self) -> list[str]:
        """Say how the learning rate was chosen, and what became of each rate that was tried."""
        found = self.metrics.get("rate_search")
        if not found:
            return []
        trials = [
            f"{trial['rate']:.2g}: held-out loss "
            + ("not finite" if trial["loss"] is None else f"{trial['loss']:.4f}")
            + _accuracy(trial["accuracy"])
            + f" after {trial['steps']} steps"
            for trial in found["trials"]
        ]
        tried = [f"Rates that were tried: {'; '.join(trials)}."] if trials else []
        return [found["sentence"], *tried]

    def _size(self) -> list[str]:
        size = self.settings.get(trained_parameters.SIZE)
        if not size:
            return []
        words = model_size.words(size["parameters"], size["trainable_parameters"])
        return [f"Parameters: {words}"]


def _accuracy(share: float | None) -> str:
    return "" if share is None else f", accuracy {100 * share:.0f} %"


def fill(place: RunPlace, folder: Path, card: ModelCard, write: Callable[[Path], object]) -> None:
    """Fill a fresh folder with the weights, their card and the curves of the run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder)
    text = json.dumps(card.to_json(), indent=1, sort_keys=True, default=str)
    (folder / TRAINING).write_text(text + "\n", encoding="utf-8")
    loading = loading_code.section(folder, card.settings)
    (folder / "README.md").write_text(card.text(loading), encoding="utf-8")
    board = place.workdir / training_loop.BOARD
    if board.is_dir():
        shutil.copytree(board, folder / training_loop.BOARD)

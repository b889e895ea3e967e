"""The resumable state of a training loop, in safetensors and JSON.

Weights that processes divide are written and read by all of them (see `part_files`), and by any
other number of processes; the rest is written by one.

A loop registers what it trains and is consistent at each report it yields: the caller may save
there, stop, build everything again, restore, and continue to bit-equal weights (on the same kind of
processor). Writing the folder atomically is left to the caller.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from worker.rlhf.core import part_files, tensor_files

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

TENSORS_FILE = "training_state.safetensors"
VALUES_FILE = "training_state.json"
FORMAT = 1


@dataclass(slots=True)
class Best:
    """The weights of the best step so far."""

    value: float
    step: int
    weights: dict[str, Tensor]


class TrainingState:
    """The mutable state of a run: its position, what it trains, and every random generator.

    `step` counts finished optimizer steps. The loop keeps its positions in the data in `cursors`,
    and the memory of controllers and stopping rules in `values`.
    """

    def __init__(self) -> None:
        self.step = 0
        self.cursors: dict[str, int] = {}
        self.values: dict[str, Json] = {}
        self.best: Best | None = None
        self._weights: dict[str, nn.Parameter] = {}
        self._optimizers: dict[str, Optimizer] = {}
        self._generators: dict[str, torch.Generator] = {}
        self._restored: _Saved | None = None

    def register(
        self,
        weights: Mapping[str, nn.Parameter],
        optimizers: Mapping[str, Optimizer],
        generators: Mapping[str, torch.Generator] | None = None,
    ) -> None:
        """Name what is trained; after a restore, load the saved content into it.

        Raises:
            ValueError: if the saved run trained other weights or weights of other shapes.
        """
        self._weights = dict(weights)
        self._optimizers = dict(optimizers)
        self._generators = dict(generators or {})
        if self._restored is not None:
            self._fill(self._restored)
            self._restored = None

    def keep_best(self, value: float) -> bool:
        """Keep a copy of the weights if the value is the highest yet; return whether it is."""
        if math.isnan(value):
            return False
        if self.best is not None and value <= self.best.value:
            return False
        weights = {name: p.detach().clone() for name, p in self._weights.items()}
        self.best = Best(value, self.step, weights)
        return True

    def load_best(self) -> None:
        """Load the best weights into the model, if any were kept."""
        if self.best is not None:
            _copy_into(self._weights, self.best.weights)

    @property
    def is_divided(self) -> bool:
        """Whether processes divide the weights, so that all of them must save."""
        return any(map(part_files.is_divided, self._weights.values()))

    def save_parts(self, folder: Path | str) -> None:
        """Write this process's part of what is divided, while the first process calls `save`.

        Raises:
            OSError: if a process could not write.
        """
        tensors, _ = self._tensors()
        part_files.save(_divided(tensors), Path(folder))

    def save(self, folder: Path | str) -> None:
        """Write weights, optimizers, generators, counters and the best weights to a folder.

        Raises:
            OSError: if it cannot be written, such as on a full disk; the run may continue.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors, groups = self._tensors()
        tensors |= {f"generators/{name}": g.get_state() for name, g in self._generators.items()}
        tensors |= _random_tensors()
        best: Json = None
        if self.best is not None:
            best = {"value": self.best.value, "step": self.best.step}
        parts = _divided(tensors)
        document: dict[str, Json] = {
            "format": FORMAT,
            "step": self.step,
            "cursors": dict(self.cursors),
            "values": self.values,
            "best": best,
            "optimizers": groups,
            "random": _random_values(),
            "parts": list[Json](sorted(parts)),
        }
        whole = {name: tensor for name, tensor in tensors.items() if name not in parts}
        copies = {name: tensor.clone().contiguous().cpu() for name, tensor in whole.items()}
        if parts:
            part_files.save(parts, folder)
        tensor_files.save(copies, folder / TENSORS_FILE)
        (folder / VALUES_FILE).write_text(json.dumps(document), encoding="utf-8")

    def restore(self, folder: Path | str) -> None:
        """Read a saved state; its tensors are loaded when the loop registers what it trains.

        Raises:
            ValueError: if it has another format version, or a file is damaged.
        """
        folder = Path(folder)
        document = json.loads((folder / VALUES_FILE).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"training state has format {document['format']}, not {FORMAT}")
        tensors = tensor_files.load(folder / TENSORS_FILE)
        self.step = document["step"]
        self.cursors = document["cursors"]
        self.values = document["values"]
        best = document["best"]
        self.best = best and Best(best["value"], best["step"], _below("best", tensors))
        parts = frozenset(document.get("parts", ()))
        self._restored = _Saved(folder, tensors, parts, document["optimizers"], document["random"])

    def _tensors(self) -> tuple[dict[str, Tensor], dict[str, Json]]:
        """Return all that is saved of weights and optimizers, and the optimizers' plain numbers."""
        tensors = {f"weights/{name}": p.detach() for name, p in self._weights.items()}
        if self.best is not None:
            tensors |= {f"best/{name}": tensor for name, tensor in self.best.weights.items()}
        groups: dict[str, Json] = {}
        for name, optimizer in self._optimizers.items():
            groups[name] = _optimizer_content(f"optimizers/{name}", optimizer, tensors)
        return tensors, groups

    def _read_parts(self, saved: "_Saved") -> dict[str, Tensor]:
        """Read what was divided into tensors that are as the weights are here."""
        like: dict[str, Tensor] = {}
        for name in saved.parts:
            kind, _, rest = name.partition("/")
            if kind == "optimizers":
                optimizer, index, _ = rest.split("/")
                like[name] = _trained(self._optimizers[optimizer])[int(index)]
            else:
                like[name] = self._weights[rest]
        filled = {name: torch.zeros_like(one, requires_grad=False) for name, one in like.items()}
        if filled:
            part_files.load(filled, saved.folder)
        return filled

    def _fill(self, saved: "_Saved") -> None:
        parts = self._read_parts(saved)
        _copy_into(self._weights, _below("weights", saved.tensors | parts))
        if self.best is not None:
            weights = self.best.weights | _below("best", parts)
            self.best.weights = {
                name: part_files.as_part(tensor.to(self._weights[name].device), self._weights[name])
                for name, tensor in weights.items()
            }
        for name, optimizer in self._optimizers.items():
            content = _below(f"optimizers/{name}", saved.tensors | parts)
            _fill_optimizer(optimizer, saved.optimizers[name], content)
        for name, generator in self._generators.items():
            generator.set_state(saved.tensors[f"generators/{name}"])
        _set_random(saved.tensors, saved.random)


@dataclass(frozen=True, slots=True)
class _Saved:
    folder: Path
    tensors: dict[str, Tensor]
    parts: frozenset[str]
    optimizers: dict[str, dict[str, list[dict[str, Json]]]]
    random: dict[str, list[Json]]


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


@torch.no_grad()
def _copy_into(weights: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor]) -> None:
    unmatched = sorted(weights.keys() ^ saved.keys())
    if unmatched:
        raise ValueError(
            f"saved run trained other weights: {unmatched[:3]} are in only one of the two"
        )
    for name, parameter in weights.items():
        if parameter.shape != saved[name].shape:
            raise ValueError(
                f"weight {name!r} has shape {tuple(parameter.shape)}, "
                f"saved is {tuple(saved[name].shape)}"
            )
        parameter.copy_(part_files.as_part(saved[name], parameter))


def _divided(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if part_files.is_divided(tensor)}


def _trained(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return what an optimizer trains, in the order of its numbers."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_content(
    prefix: str, optimizer: Optimizer, tensors: dict[str, Tensor]
) -> dict[str, Json]:
    # Tensors go into the tensor file; the parameter groups, which are plain numbers, into the JSON.
    content = optimizer.state_dict()
    for index, entry in content["state"].items():
        for key, tensor in entry.items():
            tensors[f"{prefix}/{index}/{key}"] = tensor
    return {"groups": content["param_groups"]}


def _fill_optimizer(
    optimizer: Optimizer, saved: Mapping[str, list[dict[str, Json]]], tensors: Mapping[str, Tensor]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    trained = _trained(optimizer)
    for name, tensor in tensors.items():
        index, key = name.split("/")
        parameter = trained[int(index)]
        is_moment = tensor.shape == parameter.shape  # the others count steps
        state.setdefault(int(index), {})[key] = (
            part_files.as_part(tensor, parameter) if is_moment else tensor
        )
    groups = [{**group, "betas": _pair(group["betas"])} for group in saved["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _pair(betas: Json) -> tuple[Json, ...]:
    assert isinstance(betas, list)
    return tuple(betas)


def _random_tensors() -> dict[str, Tensor]:
    tensors = {"random/torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states = torch.cuda.get_rng_state_all()
        tensors |= {f"random/cuda/{index}": state for index, state in enumerate(states)}
    keys = np.random.get_state(legacy=False)["state"]["key"]
    tensors["random/numpy"] = torch.from_numpy(keys.astype(np.int64))
    return tensors


def _random_values() -> dict[str, Json]:
    numpy = np.random.get_state(legacy=False)
    version, words, gauss = random.getstate()
    return {
        "python": [version, list(words), gauss],
        "numpy": [int(numpy["state"]["pos"]), int(numpy["has_gauss"]), float(numpy["gauss"])],
    }


def _set_random(tensors: Mapping[str, Tensor], values: Mapping[str, list[Json]]) -> None:
    torch.set_rng_state(tensors["random/torch"])
    for name, state in _below("random/cuda", tensors).items():
        if int(name) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(name))
    version, words, gauss = values["python"]
    assert isinstance(words, list)
    random.setstate((version, tuple(words), gauss))
    position, has_gauss, gauss = values["numpy"]
    keys = tensors["random/numpy"].numpy().astype(np.uint32)
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": keys, "pos": position},
            "has_gauss": has_gauss,
            "gauss": gauss,
        }
    )

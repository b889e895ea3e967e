"""Files of models as tests need them: large ones that take no room, and faulty ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PretrainedConfig

from worker.rlhf.model import encoder_decoder

WEIGHTS = "model.safetensors"
SHARD_BYTES = 1_000_000_000


def write_weights(folder: Path, config: PretrainedConfig) -> None:
    """Write weights of zeros that take no room on the disk; none for types that have no class."""
    tensors: dict[str, torch.Tensor] = {}
    try:
        with torch.device("meta"):
            model: Any = encoder_decoder.auto_class(config).from_config(config)
        tied = set(getattr(model, "all_tied_weights_keys", None) or ())
        tensors = {key: t for key, t in model.state_dict().items() if key not in tied}
    except ValueError:
        pass
    shards: list[dict[str, torch.Tensor]] = [{}]
    for key, tensor in tensors.items():
        if sum(map(_bytes, shards[-1].values())) > SHARD_BYTES:
            shards.append({})
        shards[-1][key] = tensor
    if len(shards) == 1:
        _write_zeros(folder / WEIGHTS, shards[0])
        return
    files = {f"model-{n:05}-of-{len(shards):05}.safetensors": at for n, at in enumerate(shards, 1)}
    for name, shard in files.items():
        _write_zeros(folder / name, shard)
    where = {key: name for name, shard in files.items() for key in shard}
    index = {"metadata": {}, "weight_map": where}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


def _write_zeros(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    header, offset = {}, 0
    for key, tensor in tensors.items():
        ends = [offset, offset + _bytes(tensor)]
        header[key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": ends}
        offset = ends[1]
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)


def _bytes(tensor: torch.Tensor) -> int:
    return 4 * tensor.numel()


def cut(folder: Path) -> None:
    """Leave half of the weights, as a copy that was broken off."""
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without(folder: Path, name: str) -> None:
    """Leave a weight out."""
    tensors = load_file(folder / WEIGHTS)
    del tensors[name]
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def with_value(folder: Path, name: str, value: float) -> None:
    """Set the first value of a weight."""
    tensors = load_file(folder / WEIGHTS)
    tensors[name].view(-1)[0] = value
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def configure(folder: Path, file: str, **values: Any) -> None:
    """Change settings in a JSON file of the folder."""
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(settings | values))

"""Tensors of which every process holds a part, in files that any number of processes can read.

Each process writes its parts to one safetensors file (`torch.distributed.checkpoint`); a reader
takes what it needs of all files, however many processes wrote them. No pickle is read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.tensor import DTensor, distribute_tensor

FOLDER: Final = "parts"


def save(parts: Mapping[str, Tensor], folder: Path) -> None:
    """Write this process's parts below a folder that all processes see; all must call it.

    Raises:
        OSError: in every process, if one of them could not write, such as on a full disk.
    """
    writer = HuggingFaceStorageWriter(str(folder / FOLDER), save_distributed=True)
    try:
        state_dict_saver.save(dict(parts), storage_writer=writer)
    except CheckpointException as error:  # not an Exception
        raise OSError(f"{folder} could not be written: {_reason(error)}") from error


def load(into: Mapping[str, Tensor], folder: Path) -> None:
    """Fill tensors, whole or divided, from what any number of processes wrote; all must call it.

    Raises:
        ValueError: if a file is damaged, or lacks a tensor or has it in another shape.
    """
    reader = HuggingFaceStorageReader(str(folder / FOLDER))
    is_alone = not torch.distributed.is_initialized()
    try:
        state_dict_loader.load(dict(into), storage_reader=reader, no_dist=is_alone)
    except CheckpointException as error:
        raise ValueError(f"{folder} cannot be read: {_reason(error)}") from error


def as_part(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor as another is: whole, or divided in the same way."""
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    on_device = tensor.to(like.device)
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


def is_divided(tensor: Tensor) -> bool:
    """Return whether this process holds but a part of a tensor."""
    return isinstance(tensor, DTensor)


def _reason(error: CheckpointException) -> str:
    failures = [failure for failure, _ in error.failures.values()]
    return str(failures[0]) if failures else "no process says why"

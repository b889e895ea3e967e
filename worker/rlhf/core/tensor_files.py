"""Tensors in files, with the errors that people and retries understand.

The library reports a full disk and a damaged file by one error class of its own.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a file.

    Raises:
        OSError: naming the file and why it could not be written, as on a full disk.
    """
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{path} could not be written: {error}") from error


def load(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file.

    Raises:
        ValueError: if the file is cut off or damaged.
        OSError: if it cannot be read.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error

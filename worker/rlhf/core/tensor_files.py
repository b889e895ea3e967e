"""Reading and writing tensor files, with errors that separate damaged files from I/O failures.

safetensors raises one error class of its own for both a full disk and a damaged file.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a file.

    Raises:
        OSError: naming the file and why it could not be written, such as a full disk.
    """
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{path} could not be written: {error}") from error


def load(path: Path) -> dict[str, Tensor]:
    """Read the tensors in a file.

    Raises:
        ValueError: if the file is truncated or damaged.
        OSError: if it cannot be read.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error

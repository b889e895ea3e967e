"""A disk so small that it can be filled in an instant; mounting it takes root."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 8 << 20


def is_possible() -> bool:
    """Whether this process may mount a disk."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Mount a small disk in memory, or without permission give a plain folder."""
    folder.mkdir()
    if not is_possible():
        yield folder
        return
    options = f"size={SIZE},mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no byte free in the meantime."""
    stuffing = folder / "stuffing"
    try:
        with stuffing.open("wb") as file:
            try:
                while True:
                    os.write(file.fileno(), bytes(1 << 16))
            except OSError:  # it is full
                pass
        yield
    finally:
        stuffing.unlink(missing_ok=True)

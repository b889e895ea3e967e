"""Keeps what an experiment made on disk, so that variants which share it make it once.

An entry is named by a hash of everything it was made from. An interrupted one is made again.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


class Shelf:
    """A folder of entries, each a folder that appears only when it is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def made(self, kind: str, origin: object, make: Callable[[Path], None]) -> Path:
        """Return the entry made from `origin`, which is made now unless it is there."""
        path = self.folder / f"{kind}-{_digest(origin)}"
        if not path.exists():
            unfinished = path.with_name(f"{path.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            (unfinished / "origin.json").write_text(_text(origin), encoding="utf-8")
            unfinished.rename(path)
        return path


def _digest(origin: object) -> str:
    return hashlib.sha256(_text(origin).encode()).hexdigest()[:16]


def _text(origin: object) -> str:
    return json.dumps(origin, sort_keys=True, default=_plain)


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        # A setting that is None does nothing: entries outlive the addition of such settings.
        return {name: one for name, one in asdict(value).items() if one is not None}
    return str(value)

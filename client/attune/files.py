"""Files on this machine: the cache of verified downloads, and folders of models."""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attune.connection import Connection
from attune.errors import DownloadDamaged

MANIFEST: Final = "manifest.json"
_CHUNK: Final = 1 << 20
_ENDS: Final = ("jsonl", "jsonl.gz", "parquet", "csv")


def cache_folder() -> Path:
    """Return the folder of downloads: `ATTUNE_CACHE`, or `attune` in the user's cache folder.

    It is created for this user alone, because it holds what people wrote and judged.
    """
    named = os.environ.get("ATTUNE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(named) if named else Path(base) / "attune"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def fetch(
    connection: Connection,
    path: str,
    *,
    sha256: str,
    container: str,
    on_bytes: Callable[[int], object],
) -> Path:
    """Return a file of the cache by its hash; download it if it is not there, or is damaged there.

    Raises:
        DownloadDamaged: what came has a different hash.
        ValueError: the hash is none.
    """
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef") or container not in _ENDS:
        raise ValueError(f"the server names a file {sha256!r}.{container}, which has no safe name")
    target = cache_folder() / f"{sha256}.{container}"
    if target.is_file() and hash_of(target) == sha256:
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as aside:
        came = Path(aside) / target.name
        connection.download(path, came, on_bytes=on_bytes)
        actual = hash_of(came)
        if actual != sha256:
            raise DownloadDamaged(f"{path} must have the SHA-256 {sha256}, not {actual}")
        came.replace(target)
    return target


def fetch_folder(
    connection: Connection,
    path: str,
    to: Path,
    *,
    sha256: str,
    on_bytes: Callable[[int], object],
) -> Path:
    """Download a tar with one folder, verify it by its manifest, and put it at `to`.

    Raises:
        DownloadDamaged: a file is missing, is one too many, or has a different hash.
        FileExistsError: there is something at `to`.
    """
    if to.exists():
        raise FileExistsError(f"{to} exists; name a folder that does not")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".attune-") as aside:
        archive = Path(aside) / "folder.tar"
        connection.download(path, archive, on_bytes=on_bytes)
        unpacked = Path(aside) / "unpacked"
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
        except tarfile.TarError as error:
            raise DownloadDamaged(f"{path} is not a complete archive: {error}") from error
        folders = list(unpacked.iterdir())
        if len(folders) != 1:
            raise DownloadDamaged(f"{path} must have one folder, not {len(folders)}")
        verify_folder(folders[0], sha256, path)
        shutil.move(folders[0], to)
    return to


def verify_folder(folder: Path, sha256: str, name: str) -> None:
    """Check a folder against its manifest, and that against its hash.

    Raises:
        DownloadDamaged: a file is missing, is one too many, or has a different hash.
    """
    path = folder / MANIFEST
    actual = hash_of(path) if path.is_file() else "none"
    if actual != sha256:
        raise DownloadDamaged(f"{name}: {MANIFEST} must have the SHA-256 {sha256}, not {actual}")
    files: dict[str, Any] = json.loads(path.read_bytes())["files"]
    there = {
        found.relative_to(folder).as_posix() for found in folder.rglob("*") if found.is_file()
    } - {MANIFEST}
    if there != set(files):
        odd = sorted(there ^ set(files))[0]
        raise DownloadDamaged(
            f"{name}: {odd} is {'not in' if odd in there else 'only in'} its manifest"
        )
    for file, facts in files.items():
        actual = hash_of(folder / file)
        if actual != facts["sha256"]:
            raise DownloadDamaged(f"{name}: {file} must have {facts['sha256']}, not {actual}")


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

"""Atomic folders: training states and published checkpoints are either complete or absent.

A folder is written under a temporary name, flushed and hashed, gets a manifest as its last file,
and is renamed into place. A folder without a manifest that matches its files does not count. Object
stores cannot rename: there the key carries the lease token and the manifest is uploaded last. Which
row points at a folder is decided elsewhere.
"""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

import fsspec

from app.errors import Conflict, Invalid, NotFound

MANIFEST: Final = "manifest.json"
_ASIDE: Final = ".aside-"
_CHUNK: Final = 1 << 20

Write = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Published:
    """A folder below the artifact root, and the hash of its manifest."""

    uri: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The artifact root: a local folder, or an fsspec URL with a local cache beside it."""

    root: str
    cache: Path

    @property
    def is_local(self) -> bool:
        """True when the root is a folder of this machine."""
        return "://" not in self.root

    def publish(self, folder: Path, key: str) -> Published:
        """Copy a folder to the root under a unique key."""
        if self.is_local:
            target = Path(self.root) / _checked(key)
            save(target, lambda aside: shutil.copytree(folder, aside, dirs_exist_ok=True))
            return _published(key, (target / MANIFEST).read_bytes())
        manifest = _manifest(folder)
        files, base = fsspec.core.url_to_fs(f"{self.root.rstrip('/')}/{_checked(key)}")
        for name in manifest["files"]:
            files.put_file(str(folder / name), f"{base}/{name}")
        content = _canonical(manifest)
        files.pipe_file(f"{base}/{MANIFEST}", content)
        return _published(key, content)

    def fetch(self, uri: str, sha256: str = "") -> Path:
        """Return a local folder with the artifact, verified when its hash is given.

        Raises:
            NotFound: there is no complete artifact of that name.
            Invalid: its manifest has a different hash.
        """
        folder = Path(self.root) / _checked(uri) if self.is_local else self._download(uri)
        if not (folder / MANIFEST).is_file():
            raise NotFound(f"there is no artifact {uri} under {self.root}")
        actual = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        if sha256 and actual != sha256:
            raise Invalid(f"artifact {uri} must have the hash {sha256}, not {actual}")
        return folder

    def remove(self, uri: str) -> None:
        """Delete an artifact that nothing names any more; without its manifest it is none."""
        files, base = fsspec.core.url_to_fs(f"{self.root.rstrip('/')}/{_checked(uri)}")
        if files.exists(f"{base}/{MANIFEST}"):
            files.rm_file(f"{base}/{MANIFEST}")
            files.rm(base, recursive=True)
        if self.is_local:
            with suppress(OSError):  # it is gone, or holds others
                Path(base).parent.rmdir()

    def _download(self, uri: str) -> Path:
        target = self.cache / _checked(uri)
        if verify(target):
            return target
        files, base = fsspec.core.url_to_fs(f"{self.root.rstrip('/')}/{uri}")
        if not files.exists(f"{base}/{MANIFEST}"):
            raise NotFound(f"there is no artifact {uri} under {self.root}")
        manifest = json.loads(files.cat_file(f"{base}/{MANIFEST}"))

        def write(aside: Path) -> None:
            for name in manifest["files"]:
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                files.get_file(f"{base}/{name}", str(aside / name))

        save(target, write)
        if _read_manifest(target) != manifest:
            raise Invalid(f"artifact {uri} does not match its manifest")
        return target


def save(target: Path, write: Write) -> Path:
    """Let `write` fill a temporary folder, then rename it into place over any older one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f"{_ASIDE}{target.name}-{uuid.uuid4().hex[:8]}"
    aside.mkdir()
    try:
        write(aside)
        manifest = _manifest(aside)
        for name in manifest["files"]:
            _flush(aside / name)
        (aside / MANIFEST).write_bytes(_canonical(manifest))
        for folder in {aside / MANIFEST, *_folders(aside)}:
            _flush(folder)
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
        _flush(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def replace(path: Path, text: str) -> None:
    """Replace a small file atomically."""
    aside = path.with_name(f"{_ASIDE}{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        aside.write_text(text, encoding="utf-8")
        _flush(aside)
        aside.replace(path)
        _flush(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def lock(file: IO[Any], path: Path) -> None:
    """Keep other processes out until the file is closed.

    Raises:
        Conflict: another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Conflict(f"another process is writing to {path}") from error


def verify(folder: Path) -> bool:
    """Whether the folder has a manifest and every file matches it."""
    try:
        manifest = _read_manifest(folder)
        return manifest is not None and manifest == _manifest(folder)
    except (OSError, ValueError):
        return False


def save_state(root: Path, step: int, lease_token: int, write: Write, *, keep: int = 2) -> Path:
    """Save a training state; keep the newest few, and never touch those of a later lease."""
    saved = save(root / f"state-{step:09d}-{lease_token:06d}", write)
    older = [state for state in _states(root) if _order(state)[1] <= lease_token]
    for state in older[keep:]:
        shutil.rmtree(state, ignore_errors=True)
    return saved


def newest_state(root: Path) -> Path | None:
    """Return the newest training state that verifies, or None if there is none."""
    return next((state for state in _states(root) if verify(state)), None)


def discard_states(root: Path, *, up_to_lease: int) -> None:
    """Remove the training states of leases up to a token: of a database that was replaced."""
    for state in _states(root):
        if _order(state)[1] <= up_to_lease:
            shutil.rmtree(state, ignore_errors=True)


def job_folder(work: Path, job_id: int) -> Path:
    """Return the local folder of a job, which its attempts on this machine share."""
    return work / f"job-{job_id}"


def discard(root: Path) -> None:
    """Remove a job's local folder."""
    shutil.rmtree(root, ignore_errors=True)


def _states(root: Path) -> list[Path]:
    return sorted(root.glob("state-*-*"), key=_order, reverse=True)


def _order(state: Path) -> tuple[int, int]:
    _, step, lease_token = state.name.split("-")
    return int(step), int(lease_token)


def _manifest(folder: Path) -> dict[str, Any]:
    files: Mapping[str, Any] = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hash_of(path),
        }
        for path in sorted(_files(folder))
    }
    return {"files": files}


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    if not path.is_file():
        return None
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    return manifest


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, sort_keys=True, indent=1).encode()


def _published(key: str, manifest: bytes) -> Published:
    total = sum(file["bytes"] for file in json.loads(manifest)["files"].values())
    return Published(key, hashlib.sha256(manifest).hexdigest(), total)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and path != folder / MANIFEST:
            yield path


def _folders(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (path for path in folder.rglob("*") if path.is_dir())


def hash_of(path: Path) -> str:
    """Return the SHA-256 hash of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checked(key: str) -> str:
    parts = PurePosixPath(key)
    if not key or parts.is_absolute() or ".." in parts.parts:
        raise Invalid(f"an artifact's key must be a path under the root, not {key!r}")
    return key

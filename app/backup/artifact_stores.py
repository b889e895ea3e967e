"""The artifact root as a backup reads and writes it: a folder, or what fsspec reaches.

An artifact is a folder with a manifest that lists its files with their hashes. It is written whole
or not at all: aside and then renamed in a folder, the manifest last in an object store.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

from app.backup.archives import HashedReader
from app.backup.backup_manifest import ArtifactFile, ArtifactFiles
from app.errors import Invalid, NotFound
from app.services.checkpoints.stored_artifacts import NamedArtifact

_MANIFEST: Final = "manifest.json"

Fetch = Callable[[ArtifactFile, IO[bytes]], None]
"""Writes the content of an artifact's file to a stream."""


class ArtifactStore(Protocol):
    """An artifact root."""

    def open(self, path: str) -> IO[bytes]:
        """Open a file below the root.

        Raises:
            NotFound: there is none.
        """

    def free(self) -> int | None:
        """Return the bytes that are free; None if there is no limit to ask for."""

    def write(self, artifact: ArtifactFiles, fetch: Fetch) -> None:
        """Write an artifact."""

    def move_aside(self, uri: str, stamp: str) -> None:
        """Rename an artifact, if there is one."""


def store_at(root: str) -> ArtifactStore:
    """Return the store at an artifact root."""
    return RemoteStore(root.rstrip("/")) if "://" in root else FolderStore(Path(root).absolute())


def files_of(store: ArtifactStore, artifact: NamedArtifact) -> ArtifactFiles:
    """Return the files of an artifact as its manifest lists them, and the manifest itself.

    Raises:
        NotFound: it has no manifest.
        Invalid: the manifest is damaged, or not the one that the database names.
    """
    with store.open(f"{artifact.uri}/{_MANIFEST}") as file:
        content = file.read()
    digest = hashlib.sha256(content).hexdigest()
    if artifact.sha256 and digest != artifact.sha256:
        raise Invalid(f"its manifest has the hash {digest}, not {artifact.sha256}")
    try:
        listed = json.loads(content)["files"]
        files = [ArtifactFile(name=name, **listed[name]) for name in sorted(listed)]
        own = ArtifactFile(name=_MANIFEST, bytes=len(content), sha256=digest)
        return ArtifactFiles(uri=artifact.uri, files=[*files, own])
    except (ValueError, TypeError, KeyError) as error:
        raise Invalid(f"its manifest is damaged: {error}") from error


def is_same(store: ArtifactStore, artifact: ArtifactFiles) -> bool | None:
    """Whether the store has the artifact with the same content; None if it has none."""
    for n, file in enumerate(reversed(artifact.files)):  # the manifest first
        try:
            with store.open(f"{artifact.uri}/{file.name}") as opened:
                reader = HashedReader(opened)
                reader.drain()
        except NotFound:
            return None if n == 0 else False
        if reader.sha256 != file.sha256:
            return False
    return True


@dataclass(frozen=True, slots=True)
class FolderStore:
    """A folder of this machine."""

    root: Path

    def open(self, path: str) -> IO[bytes]:
        """Open a file below the root; a link that leads out of it is not followed."""
        found = (self.root / path).resolve()
        if not found.is_relative_to(self.root.resolve()) or not found.is_file():
            raise NotFound(f"{path} is missing below {self.root}")
        return found.open("rb")

    def free(self) -> int | None:
        """Return the bytes that are free on the disk."""
        existing = next(part for part in (self.root, *self.root.parents) if part.exists())
        return shutil.disk_usage(existing).free

    def write(self, artifact: ArtifactFiles, fetch: Fetch) -> None:
        """Write the artifact aside, flush it, and rename it."""
        target = self._place(artifact.uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.parent / f".aside-{target.name}-{uuid.uuid4().hex[:8]}"
        try:
            for file in artifact.files:
                path = aside / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as opened:
                    fetch(file, opened)
                    opened.flush()
                    os.fsync(opened.fileno())
            aside.rename(target)
            flush(target.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def move_aside(self, uri: str, stamp: str) -> None:
        """Rename the folder."""
        target = self._place(uri)
        if target.exists():
            target.rename(target.with_name(f"{target.name}.before-{stamp}"))

    def _place(self, uri: str) -> Path:
        place = self.root / uri
        if not place.resolve().is_relative_to(self.root.resolve()):
            raise Invalid(f"artifact {uri} would lie outside {self.root}, through a link")
        return place


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """An fsspec URL; a folder cannot be renamed there, so the manifest is written last."""

    root: str

    def open(self, path: str) -> IO[bytes]:
        """Open an object below the root."""
        files, base = self._reach()
        try:
            opened: IO[bytes] = files.open(f"{base}/{path}", "rb")
        except FileNotFoundError as error:
            raise NotFound(f"{path} is missing below {self.root}") from error
        return opened

    def free(self) -> int | None:
        """Return None: an object store has no end that could be asked for."""
        return None

    def write(self, artifact: ArtifactFiles, fetch: Fetch) -> None:
        """Write the files, and the manifest after all others."""
        files, base = self._reach()
        for file in artifact.files:
            path = f"{base}/{artifact.uri}/{file.name}"
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            with files.open(path, "wb") as opened:
                fetch(file, opened)

    def move_aside(self, uri: str, stamp: str) -> None:
        """Move the objects below a key, the manifest last.

        fsspec's own `mv` also copies what stands for a folder, which S3 does not have.
        """
        files, base = self._reach()
        source = f"{base}/{uri}"
        files.invalidate_cache(source)  # another process may have written since
        own = (path for path in files.find(source) if path.startswith(f"{source}/"))
        found = sorted(own, key=lambda path: path.endswith(f"/{_MANIFEST}"))
        for path in found:
            files.cp_file(path, f"{source}.before-{stamp}{path.removeprefix(source)}")
        for path in reversed(found):  # without its manifest it is no artifact
            files.rm_file(path)

    def _reach(self) -> tuple[Any, str]:
        import fsspec  # noqa: PLC0415 - installed only where an object store is used

        files, base = fsspec.core.url_to_fs(self.root)
        return files, str(base).rstrip("/")


def flush(path: Path) -> None:
    """Make a folder's entries, or a file, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

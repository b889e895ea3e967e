"""Reading a backup: everything is verified before anything is done with it."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from app.backup import archives, backup_folders, encryption
from app.backup.archives import CHUNK, ArchiveMember, HashedReader, Report
from app.backup.backup_manifest import (
    DATABASE,
    HEADER,
    LARGEST_JSON,
    MANIFEST,
    OBJECTS,
    SECRET,
    ArchivePart,
    BackupHeader,
    BackupManifest,
    parse,
)
from app.backup.backup_progress import BackupProgress
from app.backup.encryption import Unlock
from app.errors import Invalid

_LARGEST_HEADER: Final = 1 << 16
_SLACK: Final = 64 << 20

Refuse = Callable[[BackupHeader], None]
"""Looks at the header before the rest is read, and raises if the backup cannot be used."""


@dataclass(frozen=True, slots=True)
class StagedBackup:
    """A backup that was verified; its parts lie in `place`, artifact files under their hashes."""

    manifest: BackupManifest
    place: Path | None

    @property
    def database(self) -> Path:
        """The database's part."""
        return self._place / DATABASE

    @property
    def secret(self) -> bytes | None:
        """The secret, if the backup has it."""
        return (self._place / SECRET).read_bytes() if self.manifest.has_secret else None

    def object(self, sha256: str) -> Path:
        """Return a file of an artifact."""
        return self._place / sha256

    @property
    def _place(self) -> Path:
        assert self.place is not None
        return self.place


def read(
    path: Path,
    unlock: Unlock,
    progress: BackupProgress,
    *,
    refuse: Refuse = lambda _header: None,
    place: Path | None = None,
) -> StagedBackup:
    """Read and verify a backup; put its parts into `place` if one is given.

    Raises:
        Invalid: it is no backup, damaged, truncated, or encrypted and the key does not open it.
    """
    if not path.is_file():
        raise Invalid(f"{path} is not a file")
    progress.begin("Verifying the backup", path.stat().st_size)
    with (
        path.open("rb") as file,
        encryption.decrypted(file, unlock, path) as (stream, identities),
    ):
        manifest = _Archive(path, refuse, place).read(stream, progress.advance)
    if manifest.header.objects_beside:
        progress.begin("Verifying the files beside it", manifest.object_bytes)
        _read_objects(path, manifest, identities, place, progress.advance)
    return StagedBackup(manifest, place)


class _Archive:
    """An archive that is being read."""

    def __init__(self, path: Path, refuse: Refuse, place: Path | None) -> None:
        self._path = path
        self._refuse = refuse
        self._place = place
        self._parts: list[ArchivePart] = []
        self._header: BackupHeader | None = None
        self._manifest: BackupManifest | None = None
        self._written = 0

    def read(self, stream: IO[bytes], report: Report) -> BackupManifest:
        for member in archives.members(stream, self._path, report):
            self._take(member)
            member.file.drain()
            part = ArchivePart(name=member.name, bytes=member.size, sha256=member.file.sha256)
            if member.name != MANIFEST:
                self._parts.append(part)
            self._name_by_hash(part)
        return self._whole()

    def _take(self, member: ArchiveMember) -> None:
        if self._manifest is not None:
            raise Invalid(f"{self._path} is no backup: {member.name} follows its manifest")
        if member.name == MANIFEST:
            content = member.content(LARGEST_JSON)
            self._manifest = parse(BackupManifest, content, self._path)
        elif self._header is None:
            if member.name != HEADER:
                raise Invalid(f"{self._path} is no backup: it begins with {member.name}")
            self._header = parse(BackupHeader, member.content(_LARGEST_HEADER), self._path)
            self._refuse(self._header)
        elif self._place is not None:
            self._keep(member, self._header, self._place)

    def _keep(self, member: ArchiveMember, header: BackupHeader, place: Path) -> None:
        self._written += member.size
        if self._written > header.database_bytes + 2 * header.artifact_bytes + _SLACK:
            raise Invalid(f"{self._path} is no backup: it is larger than its header says")
        with (place / _file_name(member.name)).open("wb") as file:
            shutil.copyfileobj(member.file, file, CHUNK)

    def _name_by_hash(self, part: ArchivePart) -> None:
        if self._place is not None and part.name.startswith(OBJECTS):
            (self._place / _file_name(part.name)).rename(self._place / part.sha256)

    def _whole(self) -> BackupManifest:
        manifest = self._manifest
        if manifest is None:
            raise Invalid(f"{self._path} is truncated: it has no manifest")
        actual = {part.name: part for part in self._parts}
        listed = {part.name: part for part in manifest.parts}
        for name in sorted(actual.keys() | listed.keys()):
            if actual.get(name) != listed.get(name):
                raise Invalid(f"{self._path} is damaged: {name} is not as its manifest says")
        if manifest.header != self._header or DATABASE not in actual:
            raise Invalid(f"{self._path} is damaged: its header and its manifest differ")
        if manifest.has_secret != (SECRET in actual):
            raise Invalid(f"{self._path} is damaged: its secret is not as its manifest says")
        enclosed = {part.sha256 for part in self._parts if part.name.startswith(OBJECTS)}
        if not manifest.header.objects_beside and manifest.sizes().keys() - enclosed:
            raise Invalid(f"{self._path} is damaged: files of its artifacts are missing")
        return manifest


def _file_name(part: str) -> str:
    return part.replace("/", "-")


def _read_objects(
    path: Path, manifest: BackupManifest, identities: Any, place: Path | None, report: Report
) -> None:
    """Verify the files that lie beside a backup, and copy them if there is a place for them."""
    for sha256 in sorted(manifest.sizes()):
        found = backup_folders.object_path(path.parent, sha256, manifest.header.objects_suffix)
        with backup_folders.opened_object(found, identities) as source:
            reader = HashedReader(source, report)
            with (place / sha256).open("wb") if place else nullcontext() as file:
                if file is None:
                    reader.drain()
                else:
                    shutil.copyfileobj(reader, file, CHUNK)
        if reader.sha256 != sha256:
            raise Invalid(f"{found} is damaged: it has the hash {reader.sha256}")

"""Backing an installation up while people work.

1. The database is frozen at one moment; what it names is read from that snapshot.
2. The artifacts that it names are copied: into the archive, or beside it in a folder that many
   backups share. An artifact that is not whole is named, and the rest is backed up.
3. The manifest is written last, and the archive is renamed into place.
"""

import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import IO, Final

from app.backup import artifact_stores, backup_folders, encryption, snapshots
from app.backup.archives import ArchiveWriter
from app.backup.artifact_stores import ArtifactStore
from app.backup.backup_folders import Pruned
from app.backup.backup_manifest import (
    DATABASE,
    HEADER,
    MANIFEST,
    OBJECTS,
    SECRET,
    ArtifactFile,
    ArtifactFiles,
    BackupHeader,
    BackupManifest,
    DamagedArtifact,
)
from app.backup.backup_progress import BackupProgress
from app.backup.encryption import EncryptionKey
from app.backup.installations import Installation
from app.backup.snapshots import DatabaseSnapshot
from app.errors import AttuneError, Conflict, Invalid, NotFound
from app.services.checkpoints.stored_artifacts import NamedArtifact

_SPARE: Final = 64 << 20  # left free on every disk that is written to
_UNREADABLE: Final = (AttuneError, OSError)


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What is backed up, and where to.

    Args:
        path: the file to write.
        shares: artifact files go into the folder of `path`, which other backups share.
        keep: how many backups of that folder are kept; None keeps all.
    """

    path: Path
    version: str
    taken_at: datetime
    shares: bool = False
    has_artifacts: bool = True
    secret: bytes | None = None
    key: EncryptionKey | None = None
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class BackupDone:
    """A backup that was written."""

    path: Path
    manifest: BackupManifest
    bytes: int
    new_objects: int
    pruned: Pruned | None


@dataclass(slots=True)
class _Artifacts:
    """The artifacts of a backup: whole ones, damaged ones, and how many files were new."""

    whole: list[ArtifactFiles] = field(default_factory=list)
    damaged: list[DamagedArtifact] = field(default_factory=list)
    new: int = 0

    @property
    def bytes(self) -> int:
        sizes = {file.sha256: file.bytes for files in self.whole for file in files.files}
        return sum(sizes.values())

    def drop_all_with(self, file: ArtifactFile, reason: str) -> None:
        """Name the artifacts that need a file of which no whole copy is left."""
        for files in list(self.whole):
            if any(own.sha256 == file.sha256 for own in files.files):
                self.whole.remove(files)
                self.damaged.append(DamagedArtifact(uri=files.uri, reason=reason))


@dataclass(slots=True)
class _Content:
    """The content of artifact files, and the paths below the artifact root that should have it."""

    file: ArtifactFile
    paths: list[str] = field(default_factory=list)


def make(
    installation: Installation, request: BackupRequest, progress: BackupProgress
) -> BackupDone:
    """Back up an installation.

    Raises:
        Conflict: the file exists, or another backup into the folder is running.
        Invalid: there is too little space, or nothing to back up.
        Unavailable: the database does not respond, or a program for it is missing.
    """
    if request.path.exists():
        raise Conflict(f"{request.path} exists; a backup does not overwrite another")
    folder = request.path.parent
    if not folder.is_dir():
        raise Invalid(f"{folder} is not a folder")
    size = snapshots.size(installation)
    _check_space(installation.data_dir, 2 * size, "a copy of the database")
    work = Path(tempfile.mkdtemp(prefix=".backup-", dir=installation.data_dir))
    try:
        with backup_folders.locked(folder) if request.shares else nullcontext():
            progress.begin("Copying the database", 2 * size)
            with snapshots.taken(installation, work, progress.advance) as snapshot:
                return _write(installation, request, snapshot, progress)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(
    installation: Installation,
    request: BackupRequest,
    snapshot: DatabaseSnapshot,
    progress: BackupProgress,
) -> BackupDone:
    store = artifact_stores.store_at(installation.artifacts)
    artifacts = _listed(store, snapshot.named) if request.has_artifacts else _Artifacts()
    header = _header(installation, request, snapshot, artifacts.bytes)
    part = snapshot.path.stat().st_size
    missing = _missing(request, artifacts)
    needed = part + sum(content.file.bytes for content in missing)
    _check_space(request.path.parent, needed, "the backup")
    progress.begin("Writing the backup", needed)
    if request.shares:
        _share(request, store, artifacts, missing, progress)
    manifests: list[BackupManifest] = []

    def write(file: IO[bytes]) -> None:
        with encryption.encrypted(file, request.key) as stream:
            archive = ArchiveWriter(stream, progress.advance)
            archive.add_bytes(HEADER, header.model_dump_json().encode())
            archive.add_file(DATABASE, snapshot.path)
            if not request.shares:
                _enclose(archive, store, artifacts, missing)
            if request.secret is not None:
                archive.add_bytes(SECRET, request.secret)
            manifest = _manifest(header, archive, snapshot, artifacts, request)
            archive.add_bytes(MANIFEST, manifest.model_dump_json().encode())
            archive.close()
            manifests.append(manifest)

    if request.shares:
        suffix = backup_folders.suffix_of(request.key)
        names = {f"{file.sha256}{suffix}" for files in artifacts.whole for file in files.files}
        backup_folders.write_list(request.path, names)
    backup_folders.write_whole(request.path, write)
    pruned = None
    if request.keep is not None and not artifacts.damaged:
        pruned = backup_folders.prune(request.path.parent, request.keep)
    size = request.path.stat().st_size
    return BackupDone(request.path, manifests[0], size, artifacts.new, pruned)


def _listed(store: ArtifactStore, named: list[NamedArtifact]) -> _Artifacts:
    found = _Artifacts()
    for artifact in named:
        try:
            found.whole.append(artifact_stores.files_of(store, artifact))
        except _UNREADABLE as error:
            reason = f"{artifact.what}: {error}"
            found.damaged.append(DamagedArtifact(uri=artifact.uri, reason=reason))
    return found


def _missing(request: BackupRequest, artifacts: _Artifacts) -> list[_Content]:
    """Return each content once, with the places that should have it; not what the folder has."""
    found: dict[str, _Content] = {}
    suffix = backup_folders.suffix_of(request.key)
    for files in artifacts.whole:
        for file in files.files:
            path = backup_folders.object_path(request.path.parent, file.sha256, suffix)
            if not (request.shares and path.is_file()):
                content = found.setdefault(file.sha256, _Content(file))
                content.paths.append(f"{files.uri}/{file.name}")
    return list(found.values())


def _share(
    request: BackupRequest,
    store: ArtifactStore,
    artifacts: _Artifacts,
    missing: list[_Content],
    progress: BackupProgress,
) -> None:
    folder = request.path.parent
    if request.key is not None:
        backup_folders.keep_key(folder, request.key)
    for content in missing:
        reason = ""
        for path in content.paths:
            try:
                with store.open(path) as source:
                    backup_folders.add_object(
                        folder, content.file, source, request.key, progress.advance
                    )
            except (Invalid, NotFound) as error:
                reason = reason or str(error)
                continue
            artifacts.new += 1
            break
        else:
            artifacts.drop_all_with(content.file, reason)


def _enclose(
    archive: ArchiveWriter, store: ArtifactStore, artifacts: _Artifacts, missing: list[_Content]
) -> None:
    numbers = count()
    for content in missing:
        reason = ""
        for path in content.paths:
            try:
                source = store.open(path)
            except NotFound as error:
                reason = reason or str(error)
                continue
            with source:
                name = f"{OBJECTS}{next(numbers)}"
                part = archive.add(name, content.file.bytes, _Padded(source))
            if part.sha256 == content.file.sha256:
                artifacts.new += 1
                break
            reason = reason or f"{path} has the hash {part.sha256}, not {content.file.sha256}"
        else:
            artifacts.drop_all_with(content.file, reason)


class _Padded:
    """A source that gives zeros after its end: a file that is too short only has another hash."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        """Return exactly `size` bytes."""
        return self._source.read(size).ljust(size, b"\0")


def _header(
    installation: Installation,
    request: BackupRequest,
    snapshot: DatabaseSnapshot,
    artifact_bytes: int,
) -> BackupHeader:
    return BackupHeader(
        format=1,
        version=request.version,
        taken_at=request.taken_at,
        database=installation.kind,
        server=snapshot.server,
        schema_name=snapshot.schema_name,
        revision=snapshot.revision,
        has_artifacts=request.has_artifacts,
        objects_beside=request.shares,
        objects_suffix=backup_folders.suffix_of(request.key) if request.shares else "",
        database_bytes=snapshot.bytes,
        artifact_bytes=artifact_bytes,
    )


def _manifest(
    header: BackupHeader,
    archive: ArchiveWriter,
    snapshot: DatabaseSnapshot,
    artifacts: _Artifacts,
    request: BackupRequest,
) -> BackupManifest:
    return BackupManifest(
        header=header,
        parts=archive.parts,
        rows=snapshot.rows,
        artifacts=artifacts.whole,
        damaged=artifacts.damaged,
        has_secret=request.secret is not None,
    ).sealed()


def _check_space(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise Invalid(
            f"{what} needs {_mib(needed + _SPARE)} below {folder}, and {_mib(free)} are free"
        )


def _mib(size: int) -> str:
    return f"{-(-size // 2**20):,} MiB"

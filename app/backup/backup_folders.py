"""A folder of backups: artifact files that they share, and how many backups are kept.

A file lies under its hash, once, however many backups need it. Beside each backup is the list of
the files that it needs, so that a retention needs no key: files on no list are removed. A folder in
which a backup has no list loses no file.
"""

import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from app.backup import encryption
from app.backup.archives import CHUNK, HashedReader, Report
from app.backup.artifact_stores import flush
from app.backup.backup_manifest import ArtifactFile
from app.backup.encryption import EncryptionKey
from app.errors import Conflict, Invalid

KEY: Final = "key.age"
_OBJECTS: Final = "objects"
_BACKUP: Final = re.compile(r"^attune-\d{8}T\d{6}Z\.backup$")
_STALE_S: Final = 24 * 3600  # a partial file of a process that was killed
PARTIAL: Final = ".partial-"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a retention removed."""

    backups: tuple[str, ...]
    objects: int
    bytes: int
    kept_because: str = ""


def name_at(moment: datetime) -> str:
    """Return the name of a backup that is taken at a moment; names sort by time."""
    return f"attune-{moment:%Y%m%dT%H%M%SZ}.backup"


def backups(folder: Path) -> list[Path]:
    """Return the backups in a folder, oldest first."""
    return sorted(path for path in folder.iterdir() if _BACKUP.match(path.name))


def newest(folder: Path) -> Path:
    """Return the newest backup in a folder.

    Raises:
        Invalid: there is none.
    """
    found = backups(folder)
    if not found:
        raise Invalid(f"{folder} has no backup (attune-….backup)")
    return found[-1]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other backups and retentions out of the folder.

    Raises:
        Conflict: one is at work there.
    """
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(f"another backup into {folder} is running") from error
        yield


def known_key(folder: Path) -> bytes:
    """Return the wrapped key of the folder's passphrase; empty if there is none."""
    path = folder / KEY
    return path.read_bytes() if path.is_file() else b""


def keep_key(folder: Path, key: EncryptionKey) -> None:
    """Store the wrapped key of a passphrase, so that later backups share files with this one."""
    path = folder / KEY
    if key.wrapped and not path.exists():
        write_whole(path, lambda file: file.write(key.wrapped))


def object_path(folder: Path, sha256: str, suffix: str) -> Path:
    """Return where a shared file lies."""
    return folder / _OBJECTS / sha256[:2] / f"{sha256}{suffix}"


def suffix_of(key: EncryptionKey | None) -> str:
    """Return what the names of shared files end with: they are encrypted for some recipients."""
    return f".{key.fingerprint}.age" if key else ""


def add_object(
    folder: Path,
    file: ArtifactFile,
    source: IO[bytes],
    key: EncryptionKey | None,
    report: Report,
) -> None:
    """Store a file under its hash.

    Raises:
        Invalid: its content has another hash.
    """
    reader = HashedReader(source, report)

    def write(to: IO[bytes]) -> None:
        with encryption.encrypted_to(to, key) if key else nullcontext(to) as stream:
            shutil.copyfileobj(reader, stream, CHUNK)
        if reader.sha256 != file.sha256:
            raise Invalid(f"{file.name} has the hash {reader.sha256}, not {file.sha256}")

    path = object_path(folder, file.sha256, suffix_of(key))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, write)


@contextmanager
def opened_object(path: Path, identities: Any) -> Iterator[IO[bytes]]:
    """Open a shared file and decrypt it if its name says that it is encrypted.

    Raises:
        Invalid: it is missing, or cannot be decrypted.
    """
    if not path.is_file():
        raise Invalid(f"{path} is missing: the backup needs it")
    with path.open("rb") as file:
        if path.suffix != ".age":
            yield file
            return
        with encryption.decrypted_from(file, identities, path) as stream:
            yield stream


def write_list(backup: Path, names: set[str]) -> None:
    """Store which shared files a backup needs."""
    content = "".join(f"{name}\n" for name in sorted(names)).encode()
    write_whole(_list_of(backup), lambda file: file.write(content))


def prune(folder: Path, keep: int) -> Pruned:
    """Remove all but the newest backups, and the shared files that none of them needs."""
    found = backups(folder)
    removed = found[:-keep]
    for backup in removed:
        backup.unlink()
        _list_of(backup).unlink(missing_ok=True)
    _remove_stale(folder)
    kept = found[-keep:]
    unlisted = [backup.name for backup in kept if not _list_of(backup).is_file()]
    names = tuple(backup.name for backup in removed)
    if unlisted:
        why = f"{unlisted[0]} has no list of the files that it needs, so none was removed"
        return Pruned(names, 0, 0, why)
    needed = {line for backup in kept for line in _list_of(backup).read_text().split()}
    sizes = []
    for path in (folder / _OBJECTS).glob("*/*"):
        if path.name not in needed and not path.name.startswith("."):
            sizes.append(path.stat().st_size)
            path.unlink()
    return Pruned(names, len(sizes), sum(sizes))


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name, flush it, and rename it; nothing is left of a failure."""
    partial = path.with_name(f".{path.name}{PARTIAL}{uuid.uuid4().hex[:8]}")
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _remove_stale(folder: Path) -> None:
    for path in (*folder.glob(f".*{PARTIAL}*"), *folder.glob(f"{_OBJECTS}/*/.*{PARTIAL}*")):
        if time.time() - path.stat().st_mtime > _STALE_S:
            path.unlink(missing_ok=True)
    for listed in folder.glob(".attune-*.backup.objects"):  # of a backup that failed
        if not (folder / listed.name.removeprefix(".").removesuffix(".objects")).exists():
            listed.unlink()


def _list_of(backup: Path) -> Path:
    return backup.with_name(f".{backup.name}.objects")

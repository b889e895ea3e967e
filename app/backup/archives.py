"""The archive of a backup: a tar that is written and read as a stream, in constant memory.

A backup may come from anywhere: nothing is extracted by the names in the archive. Only plain files
are accepted, under names from a short list, each once.
"""

import hashlib
import io
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, Protocol, cast

from app.backup.backup_manifest import ArchivePart
from app.errors import Invalid

CHUNK: Final = 1 << 20
_NAME: Final = re.compile(r"^(backup\.json|manifest\.json|secret|database|objects/[0-9]{1,9})$")

Report = Callable[[int], None]
"""Is told how many more bytes were read or written."""


def nothing(_bytes: int) -> None:
    """Report nothing."""


class ByteSource(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""


class HashedReader(io.RawIOBase):
    """Reads a stream, hashes what passes and reports it."""

    def __init__(self, source: ByteSource, report: Report = nothing) -> None:
        super().__init__()
        self._source = source
        self._digest = hashlib.sha256()
        self._report = report
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """The hash of what has been read."""
        return self._digest.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        chunk = self._source.read(size)
        self._digest.update(chunk)
        self.bytes += len(chunk)
        self._report(len(chunk))
        return chunk

    def drain(self) -> None:
        """Read to the end."""
        while self.read(CHUNK):
            pass


class _Sink:
    """A stream that knows its position, which is all that tarfile asks of a file it writes.

    Its own mode for streams would write the end of an archive that was given up.
    """

    def __init__(self, to: IO[bytes]) -> None:
        self._to = to
        self._at = 0

    def write(self, content: bytes) -> int:
        """Write all of the content."""
        self._to.write(content)
        self._at += len(content)
        return len(content)

    def tell(self) -> int:
        """Return how much was written."""
        return self._at


class _TarSource:
    """A part as tarfile reads it; what is wrong with the archive becomes a sentence."""

    def __init__(self, source: ByteSource, path: object) -> None:
        self._source = source
        self._path = path

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""
        try:
            return self._source.read(size)
        except (tarfile.TarError, EOFError) as error:
            raise Invalid(f"{self._path} is damaged or truncated: {error}") from error


class ArchiveWriter:
    """Writes an archive, and keeps what its manifest must say of the parts."""

    def __init__(self, to: IO[bytes], report: Report = nothing) -> None:
        sink = cast(IO[bytes], _Sink(to))
        self._tar = tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._report = report
        self.parts: list[ArchivePart] = []

    def add(self, name: str, size: int, source: ByteSource) -> ArchivePart:
        """Append a part of `size` bytes.

        Raises:
            Invalid: the source has fewer bytes.
        """
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, int(time.time()), 0o600
        reader = HashedReader(source, self._report)
        try:
            self._tar.addfile(info, reader)
        except OSError as error:
            if reader.bytes < size and not error.errno:
                raise Invalid(f"{name} became shorter while it was read") from error
            raise
        part = ArchivePart(name=name, bytes=size, sha256=reader.sha256)
        self.parts.append(part)
        return part

    def add_file(self, name: str, path: Path) -> ArchivePart:
        """Append a file."""
        with path.open("rb") as file:
            return self.add(name, path.stat().st_size, file)

    def add_bytes(self, name: str, content: bytes) -> ArchivePart:
        """Append a few bytes."""
        return self.add(name, len(content), io.BytesIO(content))

    def close(self) -> None:
        """Write the end of the archive."""
        self._tar.close()


class ArchiveMember:
    """A part that is being read."""

    def __init__(self, name: str, size: int, file: HashedReader) -> None:
        self.name = name
        self.size = size
        self.file = file

    def content(self, most: int) -> bytes:
        """Return a small part.

        Raises:
            Invalid: it is larger.
        """
        if self.size > most:
            raise Invalid(f"{self.name} of a backup has at most {most:,} bytes, not {self.size:,}")
        return b"".join(iter(lambda: self.file.read(CHUNK), b""))


def members(stream: IO[bytes], path: object, report: Report = nothing) -> Iterator[ArchiveMember]:
    """Yield the parts of an archive in their order; each is read to its end before the next.

    Raises:
        Invalid: the archive is damaged or truncated, or has something that no backup has.
    """
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for info in tar:
                if info.type != tarfile.REGTYPE or info.sparse is not None:
                    raise Invalid(f"{path} is no backup: {info.name!r} is not a plain file")
                if not _NAME.match(info.name) or info.name in seen:
                    raise Invalid(f"{path} is no backup: it has a part named {info.name!r}")
                seen.add(info.name)
                source = tar.extractfile(info)
                assert source is not None
                member = ArchiveMember(
                    info.name, info.size, HashedReader(_TarSource(source, path), report)
                )
                yield member
                member.file.drain()
                if member.file.bytes != info.size:
                    raise Invalid(f"{path} is truncated: {info.name} ends early")
    except (tarfile.TarError, EOFError, UnicodeError, ValueError) as error:
        raise Invalid(f"{path} is damaged or truncated: {error}") from error

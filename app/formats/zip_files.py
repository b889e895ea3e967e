"""Zip archives: the files inside, one after the other, as streams of bytes.

Nothing is written under the names in an archive; they are only shown. What the headers say of sizes
is not believed: bytes are counted as they come out. Zip archives inside are refused.
"""

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from app.errors import Invalid
from app.formats.lines import Limits
from app.formats.spooling import spooled

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_BLOCK = 1 << 16
_NAME_LONGEST = 80
_ENCRYPTED = 1
_WORKBOOK = "xl/workbook.xml"


@dataclass(slots=True)
class Archive:
    """An open archive, and how many bytes may come out of it in all."""

    file: zipfile.ZipFile
    allowed: int
    limits: Limits
    taken: int = 0

    @property
    def members(self) -> list[zipfile.ZipInfo]:
        """The files inside, in order; folders and what systems hide beside files are none."""
        return [info for info in self.file.infolist() if not info.is_dir() and not _is_hidden(info)]

    def chunks(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        """Yield the bytes of a file inside.

        Raises Invalid where it is encrypted, damaged or a zip archive, or grows too much.
        """
        if info.flag_bits & _ENCRYPTED:
            raise Invalid("the file is encrypted")
        try:
            with self.file.open(info) as member:
                is_first = True
                while chunk := member.read(_BLOCK):
                    self._count(len(chunk))
                    if is_first and chunk.startswith(MAGIC):
                        raise Invalid("a zip archive inside a zip archive is not read")
                    is_first = False
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise Invalid(f"the zip data are damaged: {error}") from error
        except NotImplementedError as error:
            raise Invalid(f"the zip data cannot be unpacked: {error}") from error

    def _count(self, size: int) -> None:
        self.taken += size
        if self.taken > self.allowed:
            raise Invalid(
                f"the zip data grow more than {self.limits.gzip_ratio} times, or over "
                f"{self.limits.archive_bytes} bytes"
            )


@contextmanager
def opened(chunks: Iterable[bytes], limits: Limits) -> Iterator[Archive]:
    """Open an archive that comes as a stream.

    Raises Invalid where it is damaged, holds too many files or none, or is a workbook.
    """
    with spooled(chunks, limits) as (file, size):
        ratio = max(limits.line_bytes, size * limits.gzip_ratio)
        archive = Archive(_zip_file(file), min(ratio, limits.archive_bytes), limits)
        infos = archive.file.infolist()
        if any(info.filename == _WORKBOOK for info in infos):
            raise Invalid("the file is an Excel workbook; save its sheet as CSV")
        if len(infos) > limits.archive_files:
            raise Invalid(f"the zip archive holds more than {limits.archive_files} files")
        if not archive.members:
            raise Invalid("the zip archive holds no files")
        yield archive


def shown(info: zipfile.ZipInfo) -> str:
    """Return a file's name as messages show it."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in info.filename)
    return name if len(name) <= _NAME_LONGEST else f"…{name[1 - _NAME_LONGEST :]}"


def _zip_file(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise Invalid(f"the zip data are damaged: {error}") from error


def _is_hidden(info: zipfile.ZipInfo) -> bool:
    parts = info.filename.split("/")
    return parts[0] == "__MACOSX" or parts[-1].startswith(".")

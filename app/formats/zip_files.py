"""Reads the files in a zip archive, one after another, as streams of bytes.

The names in an archive are only shown, never used as paths. The sizes in the headers are not
trusted; bytes are counted as they are decompressed. Nested zip archives are refused.

The list of files at the end of an archive is read into memory as a whole, where it takes ten times
its size, so its size is limited before.
"""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from app.errors import Invalid
from app.formats import member_names
from app.formats.lines import Limits
from app.formats.member_names import MemberSplits
from app.formats.spooling import spooled

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_BLOCK = 1 << 16
_NAME_LONGEST = 80
_ENCRYPTED = 1
_LISTED = 10  # names of skipped files
_DESCRIPTIONS = frozenset(
    ("dataset_info.json", "dataset_infos.json", "croissant.json", "export.json")
)
_CARDS = frozenset(
    ("readme", "license", "licence", "copying", "notice", "citation", "authors", "changelog")
)
_TEXTS = frozenset(("txt", "md", "rst", "html", "cff"))
_DOCUMENTS = (".md", ".pdf", ".html", ".docx", ".png", ".jpg", ".jpeg", ".gif")
_WORKBOOK = "xl/workbook.xml"
_LISTING_MOST: Final = 1 << 20
"""Bytes of the list of files; a thousand long names take less."""
_DAMAGES: Final = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, ValueError),
)
"""What the library raises on damaged archives, other than for what it does not support."""


@dataclass(slots=True)
class Archive:
    """An open archive, and how many bytes may be read from it in total."""

    file: zipfile.ZipFile
    allowed: int
    limits: Limits
    taken: int = 0

    @property
    def members(self) -> list[zipfile.ZipInfo]:
        """The files in the archive that may hold data, in order."""
        return [info for info in self.file.infolist() if not info.is_dir() and not _is_beside(info)]

    @property
    def skipped(self) -> str:
        """A sentence on the files that hold no data by their names; empty if there are none."""
        names = [
            shown(info) for info in self.file.infolist() if not info.is_dir() and _is_beside(info)
        ]
        if not names:
            return ""
        listed = ", ".join(names[:_LISTED])
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        noun = "file" if len(names) == 1 else "files"
        return f"{len(names)} {noun} of the archive skipped, as the names say: {listed}{more}."

    def splits(self, choice: bool | None) -> MemberSplits:
        """Return the split that each file's name sets."""
        return member_names.splits([shown(info) for info in self.members], choice)

    def remarks(self, splits: MemberSplits) -> list[str]:
        """Return sentences on what the names of several files are used for."""
        said = [] if len(self.members) == 1 else [member_names.SOURCE_REMARK]
        return [*said, splits.remark] if splits.remark else said

    def chunks(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        """Yield the bytes of one file.

        Raises Invalid if it is encrypted, damaged or a zip archive, or if it exceeds the limits.
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
        except _DAMAGES as error:
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
    """Open an archive from a stream.

    Raises Invalid if it is damaged, holds no files or too many, or is an Excel workbook.
    """
    with spooled(chunks, limits) as (file, size):
        ratio = max(limits.line_bytes, size * limits.gzip_ratio)
        archive = Archive(_zip_file(file, limits), min(ratio, limits.archive_bytes), limits)
        infos = archive.file.infolist()
        if any(info.filename == _WORKBOOK for info in infos):
            raise Invalid("the file is an Excel workbook; save its sheet as CSV")
        if len(infos) > limits.archive_files:
            raise Invalid(f"the zip archive holds more than {limits.archive_files} files")
        if not archive.members:
            skipped = f"; {archive.skipped}" if archive.skipped else ""
            raise Invalid(f"the zip archive holds no files with data{skipped}".rstrip("."))
        yield archive


def shown(info: zipfile.ZipInfo) -> str:
    """Return the name of a file for messages."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in info.filename)
    return name if len(name) <= _NAME_LONGEST else f"…{name[1 - _NAME_LONGEST :]}"


class _InPieces:
    """A file that is only read in pieces, such as those of its members."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file = file
        self._limits = limits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size if 0 <= size <= _LISTING_MOST else _LISTING_MOST + 1)
        if len(data) > _LISTING_MOST:
            raise Invalid(
                f"the zip archive holds more than {self._limits.archive_files} files, or their "
                "names are too long"
            )
        return data


def _zip_file(file: BinaryIO, limits: Limits) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(cast(BinaryIO, _InPieces(file, limits)))
    except _DAMAGES as error:
        raise Invalid(f"the zip data are damaged: {error}") from error


def _is_beside(info: zipfile.ZipInfo) -> bool:
    """Whether a file is hidden, or stands beside the data: a card, a license, a description."""
    folder, _, name = info.filename.lower().rpartition("/")
    stem, dot, ending = name.partition(".")
    return (
        folder.split("/")[0] == "__macosx"
        or name.startswith(".")
        or name in _DESCRIPTIONS
        or (stem in _CARDS and (not dot or ending in _TEXTS))
        or name.endswith(_DOCUMENTS)
    )

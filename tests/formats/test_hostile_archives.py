"""Archives that somebody forged byte by byte: refused with a reason, and never read into memory."""

import io
import struct
import tracemalloc
import zipfile

import pytest

from app import formats
from app.errors import Invalid
from app.formats.records import Rejected

NAME = "é.jsonl"
BODY = 30 + len(NAME.encode())
"""Where the data begin, after the local header."""
LINE = b'{"prompt": "q"}\n'


def archive(method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr(NAME, LINE * 20)
    return bytearray(out.getvalue())


def forged(method: int, at: int, data: bytes) -> bytes:
    """Overwrite bytes; from the end of the archive if the place is negative."""
    file = archive(method)
    start = at if at >= 0 else len(file) + at
    file[start : start + len(data)] = data
    return bytes(file)


@pytest.mark.parametrize(
    "data",
    [
        forged(zipfile.ZIP_LZMA, BODY + 4, b"\xff"),
        forged(zipfile.ZIP_LZMA, BODY + 2, b"\0\0"),
        forged(zipfile.ZIP_LZMA, BODY + 9, b"\xaa" * 12),
        forged(zipfile.ZIP_BZIP2, BODY + 5, b"\xaa" * 20),
        forged(zipfile.ZIP_DEFLATED, 30, b"\xff\xff"),
        forged(zipfile.ZIP_DEFLATED, -6, b"\xf0\xff\xff\xff"),
    ],
    ids=["lzma filter", "lzma size", "lzma data", "bzip2 data", "name", "offset"],
)
def test_a_damaged_member_is_refused_whatever_the_library_raises(data: bytes) -> None:
    try:
        (refused,) = formats.read([data])
    except Invalid as error:
        refused = Rejected(1, str(error))
    assert isinstance(refused, Rejected)
    assert "the zip data are damaged" in refused.reason


def test_a_list_of_files_without_end_is_not_read_into_memory() -> None:
    """Each entry of 53 bytes would become an object of half a kilobyte."""
    file = bytes(archive())
    start, end = file.index(b"PK\1\2"), file.index(b"PK\5\6")
    entries = file[start:end] * 200_000
    most = 2**16 - 1
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, most, most, len(entries), start, 0)
    data = file[:start] + entries + tail
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="holds more than 1000 files, or their names"):
            list(formats.read([data]))
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()

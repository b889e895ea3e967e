"""Writes a stream to a temporary file, for formats with their table of contents at the end."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from app.errors import Invalid
from app.formats.lines import Limits

_IN_MEMORY = 8 << 20


@contextmanager
def spooled(chunks: Iterable[bytes], limits: Limits) -> Iterator[tuple[BinaryIO, int]]:
    """Write a stream to a temporary file that is deleted afterwards; yield the file and its size.

    Raises Invalid if the stream exceeds the limits.
    """
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > limits.archive_bytes:
                raise Invalid(f"the file is larger than {limits.archive_bytes} bytes")
            file.write(chunk)
        file.seek(0)
        yield cast(BinaryIO, file), size

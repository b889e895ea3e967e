"""A stream of bytes as a file, for formats whose table of contents stands at the end."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from app.errors import Invalid
from app.formats.lines import Limits

_IN_MEMORY = 8 << 20


@contextmanager
def spooled(chunks: Iterable[bytes], limits: Limits) -> Iterator[tuple[BinaryIO, int]]:
    """Put a stream into a temporary file, which is gone afterwards; yield it and its size.

    Raises Invalid where it is larger than the limits allow.
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

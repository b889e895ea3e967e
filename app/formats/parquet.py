"""Reads Parquet files as rows of JSON: lists and structs become lists and objects.

pyarrow is imported only here, and only when a Parquet file is read, so that training from text
files works without it. The table of contents is at the end of a Parquet file, so the bytes are
first written to a temporary file; then a few rows are read at a time.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import Any, BinaryIO

from app.domain.repeats import repeated
from app.errors import Invalid
from app.formats.lines import Limits, RawRow
from app.formats.records import Rejected
from app.formats.spooling import spooled

MAGIC = b"PAR1"
_ROWS = 64


def rows(chunks: Iterable[bytes], limits: Limits) -> Iterator[RawRow | Rejected]:
    """Yield the rows of a Parquet file, numbered from 1.

    Raises Invalid for a file that is damaged, exceeds the limits, or has two columns of one name.
    """
    with spooled(chunks, limits) as (file, size):
        allowed = max(limits.line_bytes, size * limits.gzip_ratio)
        total = 0
        grown = f"the Parquet data grow more than {limits.gzip_ratio} times"
        for number, values in enumerate(_values(file, allowed, grown), 1):
            data = json.dumps(values, ensure_ascii=False, default=_plain).encode(
                "utf-8", "surrogatepass"
            )
            total += len(data)
            if total > allowed:
                raise Invalid(grown)
            if len(data) > limits.line_bytes:
                reason = f"the row is longer than {limits.line_bytes} bytes"
                yield Rejected(number, reason, data[: limits.line_bytes])
            else:
                yield RawRow(number, data)


def _values(file: BinaryIO, allowed: int, grown: str) -> Iterator[dict[str, Any]]:
    """Yield rows as dictionaries, with one batch in memory at a time.

    A single value is unpacked as a whole, so what the file says of its columns is asked before.
    """
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise Invalid("reading Parquet needs the package pyarrow") from error
    try:
        source = parquet.ParquetFile(file)
        names = source.schema_arrow.names
        if (twice := repeated(names)) is not None:
            raise Invalid(f"the file names the column {twice!r} twice")
        if _unpacked(source.metadata) > allowed:
            raise Invalid(grown)
        for batch in source.iter_batches(batch_size=_ROWS):
            yield from batch.to_pylist()
    except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise Invalid(f"the Parquet data are damaged: {str(error).splitlines()[0]}") from error


def _unpacked(metadata: Any) -> int:
    """Return the bytes of the largest group of rows, unpacked."""
    groups = (metadata.row_group(n) for n in range(metadata.num_row_groups))
    return max((group.total_byte_size for group in groups), default=0)


def _plain(value: object) -> str | float:
    """Convert a value without a JSON type to a string or a number."""
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):  # older writers do not mark strings as such
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)

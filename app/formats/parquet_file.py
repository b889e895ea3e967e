"""Writes an export as Parquet: one row group at a time, so that memory stays bounded.

The types are declared and not inferred, so the files of one format can be concatenated, and equal
rows give equal bytes with one version of pyarrow. pyarrow is imported when a file is written.
"""

import io
import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, BinaryIO

from app.formats.export_columns import (
    Columns,
    Entries,
    Many,
    Plain,
    Struct,
    Type,
    fitted,
    has_entries,
)

GROUP_ROWS = 1_000
GROUP_BYTES = 8 << 20


def write(lines: Iterable[bytes], columns: Columns, file: BinaryIO) -> None:
    """Write rows, given as lines of JSON.

    Raises:
        Invalid: a row has a field that its column does not declare.
    """
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    schema = arrow.schema([(name, _arrow(arrow, kind)) for name, kind in columns.items()])
    # Snappy shrinks a text at most about 20 times, so no file is too compressed to be imported
    # again. Texts are long and rarely repeated: statistics and dictionaries would only take space.
    with parquet.ParquetWriter(
        file, schema, compression="snappy", write_statistics=False, use_dictionary=False
    ) as writer:
        for group in _groups(lines):
            writer.write_table(_table(arrow, group, columns, schema))


def _groups(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for line in lines:
        group.append(line)
        size += len(line)
        if len(group) == GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _table(arrow: Any, group: list[bytes], columns: Columns, schema: Any) -> Any:
    """Convert lines to a table: by Arrow's own parser if it can, else value by value."""
    if not any(map(has_entries, columns.values())):
        parser, data = import_module("pyarrow.json"), b"".join(group)
        try:
            return parser.read_json(
                io.BytesIO(data),
                parser.ReadOptions(use_threads=False, block_size=len(data) + 1),
                parser.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
            )
        except arrow.ArrowInvalid:  # checking value by value names the field
            pass
    rows = [fitted(json.loads(line), columns) for line in group]
    return arrow.Table.from_pylist(rows, schema=schema)


def _arrow(arrow: Any, kind: Type) -> Any:
    if isinstance(kind, Many):
        return arrow.list_(_arrow(arrow, kind.of))
    if isinstance(kind, Struct):
        return arrow.struct([(name, _arrow(arrow, of)) for name, of in kind.fields.items()])
    if isinstance(kind, Entries):
        return _arrow(arrow, kind.stored)
    return {
        Plain.TEXT: arrow.string(),
        Plain.WHOLE: arrow.int64(),
        Plain.NUMBER: arrow.float64(),
        Plain.TRUTH: arrow.bool_(),
    }[kind]

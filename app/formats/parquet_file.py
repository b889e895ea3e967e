"""Writes an export as Parquet: one row group at a time, so that memory stays bounded.

The types are declared and not inferred, so the files of one format can be concatenated, and equal
rows give equal bytes with one version of pyarrow. pyarrow is imported when a file is written.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import islice
from typing import Any, BinaryIO

from app.formats.export_columns import Columns, Entries, Many, Plain, Struct, Type, fitted
from app.formats.records import Row

GROUP_ROWS = 1_000
GROUP_BYTES = 16 << 20


def write(rows: Iterable[tuple[Row, int]], columns: Columns, file: BinaryIO) -> None:
    """Write rows, each with its size in bytes, which bounds the row groups.

    Raises:
        Invalid: a row has a field that its column does not declare.
    """
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    schema = arrow.schema([(name, _arrow(arrow, kind)) for name, kind in columns.items()])
    # Texts are long and rarely repeated, so statistics and dictionaries would only take space.
    with parquet.ParquetWriter(
        file, schema, compression="zstd", write_statistics=False, use_dictionary=False
    ) as writer:
        for group in _groups(iter(rows)):
            values = [fitted(row, columns) for row in group]
            writer.write_table(arrow.Table.from_pylist(values, schema=schema))


def _groups(rows: Iterator[tuple[Row, int]]) -> Iterator[list[Row]]:
    while first := list(islice(rows, 1)):
        group, size = [first[0][0]], first[0][1]
        while len(group) < GROUP_ROWS and size < GROUP_BYTES:
            following = next(rows, None)
            if following is None:
                break
            group.append(following[0])
            size += following[1]
        yield group


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

"""The files that an export can be written as: JSON lines, plain or gzip, Parquet and CSV.

The rows are the same in each; equal rows give equal bytes. Rows arrive as lines of JSON. Parquet
and CSV declare their columns before the first row, so the lines wait in a temporary file until all
of them are known.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from app.errors import Invalid
from app.formats import csv_file, export_columns, jsonl, parquet_file
from app.formats.export_columns import COLUMNS, Columns, Plain

_CHUNK = 1 << 20
_BUFFER = 1 << 20  # each write lets another thread go first


class Container(StrEnum):
    """The kind of file; the value is the end of its name."""

    JSONL = "jsonl"
    GZIP = "jsonl.gz"
    PARQUET = "parquet"
    CSV = "csv"


TITLES: Mapping[str, str] = {
    Container.JSONL: "JSON Lines",
    Container.GZIP: "JSON Lines, gzip",
    Container.PARQUET: "Parquet",
    Container.CSV: "CSV for spreadsheets",
}
MEDIA_TYPES: Mapping[str, str] = {
    Container.JSONL: "application/jsonl",
    Container.GZIP: "application/gzip",
    Container.PARQUET: "application/vnd.apache.parquet",
    Container.CSV: "text/csv; charset=utf-8",
}


_LLAMA_FACTORY_CANNOT: Mapping[Container, str] = {
    Container.GZIP: "LLaMA-Factory does not read gzip",
    # Its loader cannot be given options for CSV, and drops the rows of such responses.
    Container.CSV: "LLaMA-Factory takes responses such as NA in CSV for missing values",
}


@dataclass(frozen=True, slots=True)
class DataFile:
    """A written file: its name in the folder, its columns if they are known, and its hash."""

    name: str
    container: Container
    bytes: int
    sha256: str
    columns: Columns | None

    @property
    def facts(self) -> dict[str, str | int]:
        """What a manifest says about the file."""
        return {
            "name": self.name,
            "container": self.container,
            "bytes": self.bytes,
            "sha256": self.sha256,
        }


def named(name: str) -> Container:
    """Return the container of this name.

    Raises:
        Invalid: there is none.
    """
    if name not in set(Container):
        raise Invalid(f"there is no container {name!r}; there are {', '.join(Container)}")
    return Container(name)


def of_path(path: Path) -> Container | None:
    """Return the container that the name of a file ends with, if any."""
    return next((one for one in Container if path.name.lower().endswith(f".{one}")), None)


def check(format: str, container: Container) -> None:
    """Check that a format can be written in a container.

    Raises:
        Invalid: it cannot; the message names the reason and a way out.
    """
    if container in _LLAMA_FACTORY_CANNOT and format.startswith("llama-factory-"):
        reason = _LLAMA_FACTORY_CANNOT[container]
        raise Invalid(f"{format} cannot be {container}: {reason}; choose jsonl or parquet")
    if container in (Container.JSONL, Container.GZIP):
        return
    columns = COLUMNS.get(format)
    if columns is None:
        raise Invalid(f"{format} cannot be {container}: its lists mix types; choose jsonl")
    nested = [name for name, kind in columns.items() if not isinstance(kind, Plain)]
    if container is Container.CSV and nested:
        texts = [name for name in COLUMNS if _fits_cells(name)]
        raise Invalid(
            f"{format} cannot be csv: {nested[0]!r} holds a list or an object, and a cell only "
            f"text; choose parquet, or one of {', '.join(texts)}"
        )


def of_format(format: str) -> list[Container]:
    """Return the containers that a format can be written in."""
    fitting = []
    for container in Container:
        try:
            check(format, container)
        except Invalid:
            continue
        fitting.append(container)
    return fitting


def write(folder: Path, stem: str, lines: Iterable[bytes], format: str, to: Container) -> DataFile:
    """Write lines of JSON as one file of a folder, in bounded memory.

    Raises:
        Invalid: the format cannot be written so.
    """
    check(format, to)
    path = folder / f"{stem}.{to}"
    columns: Columns | None = None
    with path.open("wb", buffering=_BUFFER) as file:
        if to in (Container.JSONL, Container.GZIP):
            first, whole = _peeked(lines)
            columns = _certain(format, first)
            file.writelines(jsonl.gzipped(whole) if to is Container.GZIP else whole)
        else:
            columns = _with_columns(file, lines, format, to, folder)
    size, digest = _measured(path)
    return DataFile(path.name, to, size, digest, columns)


def _with_columns(
    file: BinaryIO, lines: Iterable[bytes], format: str, to: Container, folder: Path
) -> Columns:
    with TemporaryFile(dir=folder) as waiting:
        names: dict[str, object] = {}
        for line in lines:
            for name, value in json.loads(line).items():
                if names.get(name) is None:
                    names[name] = value
            waiting.write(line)
        waiting.seek(0)
        columns = export_columns.present(format, names)
        if to is Container.CSV:
            file.writelines(csv_file.write(map(json.loads, waiting), columns))
        else:
            parquet_file.write(waiting, columns, file)
    return columns


def _peeked(lines: Iterable[bytes]) -> tuple[bytes | None, Iterator[bytes]]:
    """Return the first line, and all lines with it."""
    iterator = iter(lines)
    first = next(iterator, None)

    def whole() -> Iterator[bytes]:
        if first is not None:
            yield first
            yield from iterator

    return first, whole()


def _certain(format: str, first: bytes | None) -> Columns | None:
    """Return the columns of JSON lines if every row has the same; optional ones may vary."""
    columns = COLUMNS.get(format)
    if first is None or columns is None or format == "rich":
        return None
    is_certain = "margin" not in columns and columns.keys() == json.loads(first).keys()
    return columns if is_certain else None


def _fits_cells(format: str) -> bool:
    is_flat = all(isinstance(kind, Plain) for kind in COLUMNS[format].values())
    return is_flat and not format.startswith("llama-factory-")


def _measured(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return path.stat().st_size, digest.hexdigest()

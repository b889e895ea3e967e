"""The rows of a downloaded export: read from disk one by one, or handed to another library."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from attune.errors import PackageMissing
from attune.types import Export


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an export, in its order; each is a dict with the fields of its format.

    Attributes:
        path: the verified JSON Lines file in the cache.
        export: what the server says of it; `export.counts` has what was left out, and why.
    """

    path: Path
    export: Export

    def __len__(self) -> int:
        return self.export.rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)

    def __repr__(self) -> str:
        return f"<Rows {len(self)} × {self.export.format}, export {self.export.number}>"

    def to_list(self) -> list[dict[str, Any]]:
        """Return all rows; they must fit into memory."""
        return list(self)

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with a column for each field.

        Raises:
            PackageMissing: pandas is not installed.
        """
        pandas = _package("pandas", "to_pandas()")
        return pandas.DataFrame.from_records(self.to_list())

    def to_dataset(self) -> Any:
        """Return a `datasets.Dataset`, memory-mapped from a copy in the cache of datasets.

        Raises:
            PackageMissing: datasets is not installed.
        """
        datasets = _package("datasets", "to_dataset()")
        return datasets.Dataset.from_json(str(self.path))


def _package(name: str, use: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise PackageMissing(name, use) from error

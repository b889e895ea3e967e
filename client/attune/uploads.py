"""Rows on their way to an import: a file as it is, or a temporary one of rows or a data frame."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def as_file(rows: Any, name: str) -> Iterator[Path]:
    """Provide rows as a file of JSON Lines for as long as they are sent.

    Args:
        rows: a `pandas.DataFrame`, or an iterable of mappings such as a `datasets.Dataset`.
        name: of the file, by which the project remembers where the rows came from.

    Raises:
        TypeError: a row is no mapping or has a value that JSON has not; the row is named.
        ValueError: there are no rows, or the name is that of a file elsewhere.
    """
    if Path(name).name != name:
        raise ValueError(f"the name of an import must be that of a file, not {name!r}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if hasattr(rows, "to_json") and hasattr(rows, "columns"):
            rows.to_json(path, orient="records", lines=True, force_ascii=False, date_format="iso")
            count = len(rows)
        else:
            count = _write(rows, path)
        if not count:
            raise ValueError("there are no rows to import")
        yield path


def _write(rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for count, row in enumerate(rows, 1):
            if not isinstance(row, Mapping):
                raise TypeError(f"row {count} must be a mapping, not {type(row).__name__}")
            try:
                line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise TypeError(f"row {count} has a value that JSON has not: {error}") from error
            file.write(line + "\n")
    return count

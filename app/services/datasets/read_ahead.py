"""Batches of a file, of which the next is read while one is stored.

Storing mostly waits for the database, so a thread of the same process can read meanwhile. A batch
of long rows ends sooner, so that memory does not depend on how long they are.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

Row = TypeVar("Row")
Batch = TypeVar("Batch")


class ReadAhead(Generic[Row, Batch]):
    """Takes rows a batch at a time; the thread ends with the `with` block.

    An error of reading is raised by the `take` that would have returned the row. A batch ends with
    the row that brings it to `most` of what `length` says of its rows.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        prepare: Callable[[list[Row]], Batch],
        length: Callable[[Row], int] = lambda _row: 0,
        most: int = 1,
    ) -> None:
        self._rows = iter(rows)
        self._prepare = prepare
        self._length, self._most = length, most
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        self._coming: Future[Batch | None] | None = None

    def __enter__(self) -> Self:
        """Return the reader; its thread starts with the first batch that is read ahead."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for a batch that is being read, and drop it."""
        self._thread.shutdown()

    def start(self, rows: int) -> None:
        """Begin to read the next batch, which has this many rows at most."""
        self._coming = self._thread.submit(self._read, rows)

    def take(self, rows: int) -> Batch | None:
        """Return the next batch: the one that was begun, or this many rows; None at the end."""
        coming, self._coming = self._coming, None
        return self._read(rows) if coming is None else coming.result()

    def _read(self, rows: int) -> Batch | None:
        batch, length = [], 0
        for row in islice(self._rows, rows):
            batch.append(row)
            length += self._length(row)
            if length >= self._most:
                break
        return self._prepare(batch) if batch else None

"""How many rows an import stores at a time, so that labelers do not wait for it.

SQLite has one writer: while a batch is stored, nobody can claim or submit. Batches are therefore
kept short there, with a pause after each in which those who wait get their turn. The time in which
the next rows are read counts as part of the pause. PostgreSQL locks only rows, so that only the
number of rows is limited, and the next are read while a batch is stored.
"""

import gc
import sys
import time
from typing import Final

from sqlalchemy.orm import Session

from app.db import bulk

WORK_MOST_S: Final = 0.035
"""Computing time of a batch, after which its commit follows."""

_SWITCH_INTERVAL_S = 0.0005  # a tenth of Python's own
_OBJECTS_UNTIL_COLLECTED = 100_000  # about those of a batch
_FEWEST_ROWS = 100  # a transaction costs the same however short it is
_PAUSE = 0.5  # of the time that others could not write
_ROWS_UNTIL_ANALYZED = 10_000


class ImportPace:
    """The number of rows in the next batch, from how long the last one took."""

    def __init__(self, most_rows: int) -> None:
        self.most_rows = most_rows
        self.rows = min(_FEWEST_ROWS, most_rows)
        self.reads_ahead = False
        self._started = self._worked = self._pause_s = 0.0
        self._ended: float | None = None

    def wait(self) -> None:
        """On SQLite, let others write for as long as they need after the last batch."""
        if self._ended is not None:
            time.sleep(max(self._pause_s - (time.monotonic() - self._ended), 0.0))

    def start(self) -> None:
        """Record that a batch is being stored."""
        self._started, self._worked = time.monotonic(), time.thread_time()

    def give_way(self, session: Session, rows: int) -> None:
        """Set the size of the next batch, and on SQLite how long to wait before it."""
        if bulk.is_postgresql(session):
            self.rows, self.reads_ahead = self.most_rows, True
            return
        self._ended = time.monotonic()
        held_s = self._ended - self._started
        # Time on a busy processor or disk would be no shorter with fewer rows.
        worked_s = max(time.thread_time() - self._worked, 1e-6)
        fitting = min(int(rows * WORK_MOST_S / worked_s), 2 * rows)
        self.rows = min(max(fitting, _FEWEST_ROWS), self.most_rows)
        self._pause_s = min(held_s, WORK_MOST_S) * _PAUSE


def dedicate_process() -> None:
    """Adapt the interpreter to a process that does nothing but import.

    What is loaded stays, and what a batch makes is freed without the collector: going through all
    of it again and again takes a third of the time. The thread that reads ahead must not keep the
    one that stores waiting after each statement.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS_UNTIL_COLLECTED)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def is_time_to_analyze(rows_before: int, rows_after: int) -> bool:
    """Return whether a growing table has passed 10,000 rows, or has doubled since then."""
    mark = _ROWS_UNTIL_ANALYZED
    while mark <= rows_before:
        mark *= 2
    return rows_after >= mark

"""How many rows an import stores at a time, so that labelers do not wait for it.

SQLite has one writer: while a batch is stored, nobody can claim or submit. Batches are therefore
kept short there, with a pause after each in which those who wait get their turn. The time in which
the next rows are read counts as part of the pause. While people label all the time, a batch takes
no longer than a judgment does, and the pause is long enough for several. If nobody has asked for
work lately, batches are longer, because a commit costs the same however much it writes: then only
the first claim waits for one. PostgreSQL locks only
rows, so that a batch is as long as its fixed costs are small, and the next is read while one is
stored. Its processor is shared all the same: while many transactions of others are committed, a
pause follows each batch there too.
"""

import time
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import bulk
from app.services.datasets.labelers_at_work import LabelersAtWork

WORK_MOST_S: Final = 0.08
"""Computing time of a batch, after which its commit follows."""

_ROWS_UNTIL_ANALYZED = 10_000
_SERVER_WORK_S = 0.15  # of a batch on PostgreSQL
_SERVER_ROWS = 1000  # however long they take
_COMMITS = text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
_COMMITS_SPAN_S = 2.0  # every process of the server adds its own about once a second
_MANY_COMMITS = 50  # per second: five labelers who never rest; an import itself makes ten
_SERVER_PAUSE = 2.0  # of the time that a batch took


@dataclass(frozen=True, slots=True)
class _Manner:
    """How batches are stored on SQLite."""

    work_s: float  # computing time of a batch
    fewest_rows: int  # a transaction costs the same however short it is
    pause: float  # of the time that others could not write


_ALONE = _Manner(WORK_MOST_S, 100, 0.25)
_BESIDE_OTHERS = _Manner(0.005, 10, 20.0)
_UNATTENDED = _Manner(0.2, 100, 0.25)
_OF_WAITING = 0.04  # of the time waited for others, which a batch beside them may take
_BESIDE_OTHERS_MOST_S = 0.025  # however long it has waited


class ImportPace:
    """The number of rows in the next batch, from how long the last one took and who else writes."""

    def __init__(self, most_rows: int) -> None:
        self.most_rows = most_rows
        self.rows = min(_ALONE.fewest_rows, most_rows)
        self.reads_ahead = False
        self._asked = self._started = self._worked = 0.0
        self._pause_s = self._waited_s = 0.0
        self._ended: float | None = None
        self._labelers = LabelersAtWork()
        self._commits: tuple[float, int] | None = None
        self._is_server_busy = False

    @property
    def rests(self) -> bool:
        """Whether it goes slowly so that labelers need not wait."""
        return self._is_server_busy or self._labelers.are_busy

    def wait(self) -> None:
        """Leave the database to others for as long as they need after the last batch."""
        if self._ended is not None:
            time.sleep(max(self._pause_s - (time.monotonic() - self._ended), 0.0))
        self._asked = time.monotonic()

    def start(self, session: Session) -> None:
        """Record that a batch is being stored in a transaction that has begun."""
        if bulk.is_postgresql(session):
            self._count_commits(session)
        else:
            self._labelers.look(session)
        self._started, self._worked = time.monotonic(), time.thread_time()
        self._waited_s = self._started - self._asked

    def stored(self, session: Session) -> None:
        """Record that a batch has been stored; its transaction is still open."""
        if not bulk.is_postgresql(session):
            self._labelers.pass_over(session)

    def give_way(self, session: Session, rows: int) -> None:
        """Set the size of the next batch, and how long to wait before it."""
        self._ended = time.monotonic()
        held_s = max(self._ended - self._started, 1e-6)
        if bulk.is_postgresql(session):
            rows_in_time = 0 if self._is_server_busy else int(rows * _SERVER_WORK_S / held_s)
            self.rows = min(max(rows_in_time, _SERVER_ROWS), self.most_rows)
            self.reads_ahead = True
            self._pause_s = _SERVER_PAUSE * held_s if self._is_server_busy else 0.0
            return
        manner = _UNATTENDED if self._labelers.are_away else _ALONE
        work_s, waited_s = manner.work_s, 0.0
        if self._labelers.are_busy:
            manner, waited_s = _BESIDE_OTHERS, self._waited_s
            work_s = min(max(manner.work_s, _OF_WAITING * waited_s), _BESIDE_OTHERS_MOST_S)
        # Time on a busy processor or disk would be no shorter with fewer rows.
        worked_s = max(time.thread_time() - self._worked, 1e-6)
        fitting = min(int(rows * work_s / worked_s), 2 * rows)
        self.rows = min(max(fitting, manner.fewest_rows), self.most_rows)
        self._pause_s = max(min(held_s, WORK_MOST_S) * manner.pause - waited_s, 0.0)

    def _count_commits(self, session: Session) -> None:
        """Note whether the server's other clients have committed many transactions lately."""
        before, now = self._commits, time.monotonic()
        if before is None or now - before[0] >= _COMMITS_SPAN_S:
            self._commits = (now, session.scalar(_COMMITS) or 0)
            if before is not None:
                rate = (self._commits[1] - before[1]) / (now - before[0])
                self._is_server_busy = rate > _MANY_COMMITS


def is_time_to_analyze(rows_before: int, rows_after: int) -> bool:
    """Return whether a growing table has passed 10,000 rows, or has doubled since then."""
    mark = _ROWS_UNTIL_ANALYZED
    while mark <= rows_before:
        mark *= 2
    return rows_after >= mark

"""How many comparisons an export reads at a time, so that labelers do not wait for it.

On SQLite nobody can commit while a statement reads. Beside labelers who ask for work again and
again, pages are therefore short, with a rest after each. On PostgreSQL readers keep nobody waiting.
"""

import time
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import bulk
from app.models import Assignment
from app.services.datasets import preferences

BESIDE_LABELERS: Final = 100
"""Comparisons of a page beside labelers on SQLite: some 10 ms."""

_MEMORY: Final = 0.7  # of each page's sign that somebody labels; two in a row count as busy
_BUSY: Final = 0.5
_REST: Final = 4.0  # of the time that a page took to read


class ReadPace:
    """The most comparisons of the next page, and how long to rest before it is read."""

    def __init__(self) -> None:
        self.most = preferences.PAGE
        self._newest: int | None = None
        self._labelers = 0.0
        self._rest_s = 0.0
        self._started = 0.0

    def rest(self) -> None:
        """Let others commit after the last page, if they do."""
        if self._rest_s:
            time.sleep(self._rest_s)

    def start(self, session: Session) -> None:
        """Note whether somebody has asked for work since the last page."""
        self._started = time.monotonic()
        if bulk.is_postgresql(session):
            return
        newest = session.scalar(select(func.max(Assignment.id))) or 0
        if self._newest is not None:
            self._labelers = _MEMORY * self._labelers + (1 - _MEMORY) * (newest != self._newest)
        self._newest = newest
        is_busy = self._labelers > _BUSY
        self.most = BESIDE_LABELERS if is_busy else preferences.SQLITE_PAGE

    def end(self) -> None:
        """Note how long the page took to read."""
        is_busy = self.most == BESIDE_LABELERS
        self._rest_s = _REST * (time.monotonic() - self._started) if is_busy else 0.0

"""How many comparisons an export reads at a time, so that labelers do not wait for it.

On SQLite nobody can commit while a statement reads. Beside labelers who ask for work again and
again, pages are therefore short, with a rest after each. On PostgreSQL readers keep nobody waiting.
"""

import time
from typing import Final

from sqlalchemy.orm import Session

from app.db import bulk
from app.services.datasets import preferences
from app.services.datasets.labelers_at_work import LabelersAtWork

BESIDE_LABELERS: Final = 100
"""Comparisons of a page beside labelers on SQLite: some 10 ms."""

_REST: Final = 6.0  # of the time that a page took to read


class ReadPace:
    """The most comparisons of the next page, and how long to rest before it is read."""

    def __init__(self) -> None:
        self.most = preferences.PAGE
        self._labelers = LabelersAtWork()
        self._rest_s = 0.0
        self._started = 0.0

    @property
    def rests(self) -> bool:
        """Whether it goes slowly so that labelers need not wait."""
        return self._rest_s > 0

    def rest(self) -> None:
        """Let others commit after the last page, if they do."""
        if self._rest_s:
            time.sleep(self._rest_s)

    def start(self, session: Session) -> None:
        """Note whether somebody has asked for work since the last page."""
        self._started = time.monotonic()
        if bulk.is_postgresql(session):
            return
        self._labelers.look(session)
        self.most = BESIDE_LABELERS if self._labelers.are_busy else preferences.SQLITE_PAGE

    def end(self) -> None:
        """Note how long the page took to read."""
        took_s = time.monotonic() - self._started
        self._rest_s = _REST * took_s if self._labelers.are_busy else 0.0

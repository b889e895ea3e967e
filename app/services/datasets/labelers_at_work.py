"""Whether people label while a file is imported or exported.

On SQLite, writers wait for each other and for readers, so that whoever goes through very many rows
must know. A labeler who asks for work gets a lease; everything else that is written does not count.
"""

import time
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.models import Assignment

BESIDE_LABELERS: Final = "slower while people label"
"""What the progress of an import or export that rests for labelers says."""

LATELY_S: Final = 30.0
"""Who labels asks for work again within this time, mostly."""

_MEMORY: Final = 0.7  # of each look; the first leases after a rest, or two in a row, count as busy
_BUSY: Final = 0.5


class LabelersAtWork:
    """Looks for new leases again and again."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._share = 0.0  # of the looks that found some, the latest ones weighing most
        self._asked_s: float | None = None  # when a look last found that somebody had

    @property
    def are_busy(self) -> bool:
        """Whether somebody has asked for work at most of the latest looks."""
        return self._share > _BUSY

    @property
    def are_away(self) -> bool:
        """Whether nobody has asked for work lately."""
        return self._asked_s is None or time.monotonic() - self._asked_s > LATELY_S

    def look(self, session: Session) -> None:
        """Look for leases since the last look or `pass_over`; the first time, for late ones."""
        before = self._newest
        self.pass_over(session)
        has_asked = asked_lately(session) if before is None else before != self._newest
        if has_asked and self.are_away:
            self._share = 1.0  # they have come, probably to stay
        elif before is not None:
            self._share = _MEMORY * self._share + (1 - _MEMORY) * has_asked
        if has_asked:
            self._asked_s = time.monotonic()

    def pass_over(self, session: Session) -> None:
        """Do not count what there is now, such as imported judgments, as leases of labelers."""
        self._newest = session.scalar(select(func.max(Assignment.id))) or 0


def asked_lately(session: Session) -> bool:
    """Return whether anybody has asked for work within the last `LATELY_S` seconds."""
    newest = select(Assignment.leased_at).order_by(Assignment.id.desc()).limit(1)
    leased_at = session.scalar(newest)
    return leased_at is not None and now(session) - leased_at < timedelta(seconds=LATELY_S)

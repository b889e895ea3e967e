"""When this installation was last backed up, which the audit log knows.

A backup is an event that is written once its file is whole, so a restored database knows of the
backup that it came from.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.models import AuditEvent
from app.services.people import audit

TAKEN: Final = "installation.backup"
RESTORED: Final = "installation.restore"
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class BackupAge:
    """How old the newest backup is, or the installation if it was never backed up.

    Args:
        age_s: seconds since the moment that the backup holds.
        is_taken: whether there is one.
        most_h: the hours after which people want to be warned; 0 for never.
    """

    age_s: float
    is_taken: bool
    most_h: int

    @property
    def is_old(self) -> bool:
        """Whether people should be warned."""
        return 0 < self.most_h * _HOUR_S < self.age_s

    def __str__(self) -> str:
        """Return it in a sentence, with the limit if it is exceeded."""
        age = _span(self.age_s)
        said = (
            f"the newest is {age} old"
            if self.is_taken
            else f"none yet; the installation is {age} old"
        )
        if not self.is_old:
            return said
        return f"{said}, and ATTUNE_BACKUP_MAX_AGE_H is {self.most_h}: run attune backup"


def note(session: Session, *, taken_at: datetime, name: str, has_artifacts: bool) -> None:
    """Record a backup whose file is whole."""
    details = {"taken_at": taken_at.isoformat(), "has_artifacts": has_artifacts}
    audit.record(session, TAKEN, name, details=details)


def age(session: Session, most_h: int) -> BackupAge:
    """Return how old the newest backup is."""
    newest = session.scalar(
        select(AuditEvent)
        .where(AuditEvent.action.in_((TAKEN, RESTORED)))
        .order_by(AuditEvent.id.desc())
        .limit(1)
    )
    moment = now(session)
    if newest is not None:
        since = datetime.fromisoformat(newest.details["taken_at"])
    else:
        first = select(AuditEvent.at).order_by(AuditEvent.id).limit(1)
        since = session.scalar(first) or moment
    return BackupAge(max((moment - since).total_seconds(), 0.0), newest is not None, most_h)


def _span(seconds: float) -> str:
    for size, unit in ((24 * _HOUR_S, "day"), (_HOUR_S, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count >= 2 or (count and unit == "minute"):
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return "a minute"

"""Jobs of a database that was restored: those that ran are queued again, and old leases are fenced.

A worker that claimed its job before the restoration may still run, and its job's id and token may
be given again. Lease tokens therefore go on from a floor that no token has reached, whichever
backup is restored how often: the seconds since 2025. Jobs that are created later start there too.

The statements run in the transaction that makes the restored tables visible, so that no worker sees
a token of the backup.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Delete, Update, case, delete, func, literal, null, select, update
from sqlalchemy.orm import Session

from app.db import now
from app.domain.states import JobState
from app.models import Job, JobAttempt, LoginSession, Restoration, WorkerHeartbeat
from app.services.people import audit

_START: Final = datetime(2025, 1, 1, tzinfo=UTC)
OUTCOME: Final = "restored"
ERROR: Final = "the database was restored from a backup that was taken while this attempt ran"


def floor_at(moment: datetime, *, above: int = 0) -> int:
    """Return the lease floor of a restoration at a moment; a later one has a higher floor.

    It is above a token too, whatever the clock says: the highest of the database to be replaced.
    """
    return max(int((moment - _START).total_seconds()), above + 1)


def newest_token(session: Session) -> int:
    """Return the highest lease token of a job; 0 without jobs."""
    return session.scalar(select(func.max(Job.lease_token))) or 0


def statements(floor: int, moment: datetime) -> Sequence[Update | Delete]:
    """Return what is done to a restored database before anyone sees it.

    Tokens are raised to the floor; running jobs go back to the queue, or end if they were to be
    canceled; browser sessions end, because a sign-out after the backup would be undone; workers
    are forgotten until they report again.
    """
    is_running = Job.state == literal(JobState.RUNNING.value)
    over = {"lease_expires_at": null(), "worker": ""}
    return [
        update(JobAttempt)
        .where(JobAttempt.ended_at.is_(None))
        .values(ended_at=moment, outcome=OUTCOME, error=ERROR),
        update(Job).values(
            lease_token=case((Job.lease_token < floor, floor), else_=Job.lease_token + 1)
        ),
        update(Job)
        .where(is_running, Job.cancel_requested.is_(True))
        .values(state=JobState.CANCELLED.value, ended_at=moment, **over),
        update(Job)
        .where(is_running)
        .values(state=JobState.QUEUED.value, attempts=Job.attempts - 1, **over),
        delete(LoginSession),
        delete(WorkerHeartbeat),
    ]


def record(session: Session, floor: int, *, sha256: str, taken_at: datetime) -> Restoration:
    """Record the restoration, with the floor that its statements set, and audit it."""
    row = Restoration(
        sha256=sha256,
        taken_at=taken_at,
        restored_at=now(session),
        lease_floor=max(floor, newest_token(session)),
    )
    session.add(row)
    session.flush()
    details = {"backup": sha256, "taken_at": taken_at.isoformat()}
    audit.record(session, "installation.restore", "database", details=details)
    return row


def taken_back(session: Session, moment: datetime) -> int:
    """Return how many attempts the restoration of a moment ended."""
    query = select(func.count()).where(JobAttempt.outcome == OUTCOME, JobAttempt.ended_at == moment)
    return session.scalar(query) or 0


def lease_floor(session: Session) -> int:
    """Return the token above which jobs are claimed; 0 if the database was never restored."""
    return session.scalar(select(func.max(Restoration.lease_floor))) or 0

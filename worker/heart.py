"""Renews a job's lease from a thread, picks up user requests, and stores the log's tail."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.errors import LeaseLost
from app.services.jobs import job_leases
from worker.background import Background
from worker.outages import is_outage

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Intervals and timeouts, in seconds.

    Attributes:
        lease_s: how long a worker keeps its job without a heartbeat.
        heartbeat_s: between two renewals of the lease.
        sweep_s: between two sweeps.
        look_s: between two checks for user requests.
        grace_s: from an order to end until the process is killed.
        poll_s: between two checks for a job when there is no broker.
        slow_poll_s: between two checks for a job besides the broker's wake-ups.
        wake_s: the minimum between two wake-ups sent again.
    """

    lease_s: float = 40.0
    heartbeat_s: float = 10.0
    sweep_s: float = 10.0
    look_s: float = 2.0
    grace_s: float = 30.0
    poll_s: float = 1.0
    slow_poll_s: float = 15.0
    wake_s: float = 60.0


class Heart(Background):
    """Sends heartbeats while the job's process is alive.

    While the database is unreachable nothing changes: the process keeps computing. The lease counts
    as lost only once the database reports it.

    Attributes:
        signal: the latest user request for the job.
        is_lost: true once the lease is lost.
    """

    def __init__(
        self,
        database: Database,
        claimed: job_leases.ClaimedJob,
        timing: Timing,
        log_path: Path,
        pid: int,
    ) -> None:
        super().__init__("heart")
        self.signal = job_leases.Signal.GO_ON
        self.is_lost = False
        self._database = database
        self._key = (claimed.job_id, claimed.lease_token)
        self._timing = timing
        self._log_path = log_path
        self._log = ""
        self._pid = pid

    def _live(self) -> None:
        due = 0.0
        while not self.is_lost:
            if time.monotonic() >= due:
                due = time.monotonic() + self._timing.heartbeat_s
                self._carefully(self._beat)
            else:
                self._carefully(self._look)
            if self._over.wait(min(self._timing.look_s, self._timing.heartbeat_s)):
                break

    def _beat(self) -> None:
        with self._database.transaction() as session:
            self.signal = job_leases.heartbeat(session, *self._key, lease_s=self._timing.lease_s)
            text = tail(self._log_path)
            if text != self._log or not text:
                job_leases.record_log(session, *self._key, text, pid=self._pid)
        self._log = text

    def _look(self) -> None:
        with self._database.reader() as session:
            self.signal = job_leases.look(session, *self._key)

    def _carefully(self, act: Callable[[], None]) -> None:
        try:
            act()
        except LeaseLost:
            self.is_lost = True
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            log.warning(
                "heartbeat skipped: database unreachable", job=self._key[0], reason=str(error)
            )


def log_path(work: Path, job_id: int, lease_token: int) -> Path:
    """Return where an attempt's output goes."""
    return work / "logs" / f"job-{job_id}-{lease_token}.log"


def tail(path: Path) -> str:
    """Return the end of a log; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - job_leases.LOG_TAIL, 0))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""

"""Keeps one job's lease alive from a thread, hears people's orders, and stores the log's tail."""

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
    """How long things may take, in seconds.

    Attributes:
        lease_s: a worker that was silent this long has lost its job.
        heartbeat_s: between two renewals of the lease.
        sweep_s: between two sweeps.
        look_s: between two looks for people's orders.
        grace_s: from an order to end until the process is killed.
        poll_s: between two looks for a job where there is no broker.
        wake_s: the least time between two wakes that are sent again.
    """

    lease_s: float = 40.0
    heartbeat_s: float = 10.0
    sweep_s: float = 10.0
    look_s: float = 2.0
    grace_s: float = 30.0
    poll_s: float = 1.0
    wake_s: float = 60.0


class Heart(Background):
    """Beats while the job's process lives.

    While the database is away nothing changes: the process goes on computing. The lease is lost
    only when the database says so.

    Attributes:
        signal: what people want of the job.
        is_lost: true once the job is no longer ours.
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
            log.warning("no heartbeat: database away", job=self._key[0], reason=str(error))


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

"""The housekeeping that every worker does while it runs jobs.

It reports that the worker is alive, takes jobs back from workers that stopped responding, resends
lost wake-ups, and once a minute advances live rounds, starts those that are due automatically, and
deletes uploads that nobody retried.
"""

import time
from collections.abc import Callable
from types import TracebackType

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app import queue as broker
from app.domain.states import OVER_JOB_STATES
from app.errors import AttuneError
from app.services.checkpoints import base_models
from app.services.datasets import import_jobs
from app.services.jobs import job_leases, workers
from app.services.project import word_backlog
from app.services.rounds import automatic_launch, rounds
from worker import libraries, pulse
from worker.background import Background
from worker.heart import log_path, tail
from worker.outages import is_outage
from worker.supervisor import Supervisor

_TEXTS_PER_SWEEP = 200  # on SQLite, nobody else writes meanwhile

log = structlog.get_logger(__name__)


class Sweeper(Background):
    """A thread that sweeps every few seconds while the worker is running."""

    def __init__(self, supervisor: Supervisor, worker: workers.Description) -> None:
        super().__init__("sweeper")
        self._supervisor = supervisor
        self._database = supervisor.database
        self._timing = supervisor.timing
        self._worker = worker
        self._woken_at: dict[str, float] = {}
        self._reap_from = 0.0
        self._look_at = 0.0
        self._has_rechecked = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and remove the worker from the list."""
        super().__exit__(kind, error, trace)
        pulse.end(self._supervisor.places.work, self._supervisor.name)
        self._carefully(self._leave)

    def sweep(self) -> None:
        """Sweep once."""
        self._beat()
        self._carefully(self._show)
        if time.monotonic() >= self._reap_from:
            self._carefully(self._reap)
        if not self._has_rechecked:
            self._carefully(self._recheck)
        self._carefully(self._wake)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + self._timing.wake_s
            self._carefully(self._advance)

    def _live(self) -> None:
        while True:
            self.sweep()
            if self._over.wait(self._timing.sweep_s):
                break

    def _beat(self) -> None:
        try:
            pulse.beat(self._supervisor.places.work, self._supervisor.name)
        except OSError as error:  # a full disk must not end the sweeper
            log.warning("pulse not written", reason=str(error))

    def _show(self) -> None:
        with self._database.transaction() as session:
            workers.seen(session, self._worker, job_id=self._supervisor.job_id)

    def _leave(self) -> None:
        with self._database.transaction() as session:
            workers.gone(session, self._worker.name)

    def _reap(self) -> None:
        """Take back jobs whose lease expired, a transaction each, and store their logs' tails."""
        while True:
            with self._database.transaction() as session:
                reaped = job_leases.reap(session)
                for job in reaped:
                    text = tail(log_path(self._supervisor.places.work, job.id, job.lease_token))
                    if text:
                        job_leases.record_log(session, job.id, job.lease_token, text)
                    if job.state in OVER_JOB_STATES and job.round_id is not None:
                        rounds.advance(session, job.round_id)
                    log.warning("job reaped", job=job.id, state=str(job.state), reason=job.error)
            if not reaped:
                return

    def _wake(self) -> None:
        for queue in self._supervisor.queues:
            if time.monotonic() < self._woken_at.get(queue, 0.0) + self._timing.wake_s:
                continue
            with self._database.reader() as session:
                waits = job_leases.has_runnable(session, [queue], waiting_s=self._timing.sweep_s)
            if waits and broker.wake(queue):
                self._woken_at[queue] = time.monotonic()

    def _recheck(self) -> None:
        """Have base models checked that were not checked with this worker's libraries."""
        if "gpu" in self._supervisor.queues:
            with self._database.transaction() as session:
                base_models.recheck(session, libraries.versions())
        self._has_rechecked = True  # once: workers with other libraries must not take turns

    def _advance(self) -> None:
        """Advance and start rounds that can go on, clean up uploads, and index words left over."""
        with self._database.transaction() as session:
            rounds.sweep(session)
        with self._database.transaction() as session:
            automatic_launch.sweep(session)
        with self._database.transaction() as session:
            import_jobs.sweep(session)
        with self._database.transaction() as session:
            word_backlog.index_some(session, most=_TEXTS_PER_SWEEP)

    def _carefully(self, act: Callable[[], None]) -> None:
        """Act; an error in one sweep must not end the sweeper."""
        try:
            act()
        except SQLAlchemyError as error:
            if not is_outage(error):
                log.exception("sweep failed")
                return
            # After an outage, live workers get time to renew their leases first.
            self._reap_from = time.monotonic() + 2 * self._timing.heartbeat_s
            log.warning("sweep skipped: database unreachable", reason=str(error))
        except AttuneError:
            log.exception("sweep failed")

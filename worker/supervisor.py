"""Claims jobs and runs each in a fresh process until it ends.

Used by both the Celery task and the poller. The supervisor renews the lease, passes user requests
on, stores the tail of the log, and ends the job of a process that was killed. It computes nothing,
so it never loads torch.
"""

import os
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.states import OVER_JOB_STATES, JobState
from app.errors import LeaseLost
from app.models import Job
from app.services.jobs import job_leases
from app.services.rounds import rounds
from worker import artifacts, meeting
from worker.heart import Heart, Timing, log_path, tail
from worker.launcher import USES_CPU, HostGroup, Meeting, together
from worker.outages import is_outage
from worker.process import Process
from worker.ticket import Places, Ticket

CHILD: Final = (sys.executable, "-m", "worker.runs")
TRAINING: Final = frozenset({"sft", "reward", "policy"})
"""Kinds of job that several processes can share."""

_TICK_S: Final = 0.1
_LINGER_S: Final = 2.0  # time for a process whose job is over to clean up

log = structlog.get_logger(__name__)


class Supervisor:
    """Runs jobs one at a time.

    Args:
        database: where the jobs are.
        places: artifact root, work folder and device, handed to each process.
        queues: which jobs to take.
        timing: lease, intervals and grace period.
        child: the command that starts a job's process; the job and its lease are appended.
        name: of this worker, unique among live workers.
    """

    def __init__(
        self,
        database: Database,
        places: Places,
        *,
        queues: Sequence[str] = ("gpu", "cpu"),
        timing: Timing | None = None,
        child: Sequence[str] = CHILD,
        name: str = "",
    ) -> None:
        self.database = database
        self.places = places
        self.queues = tuple(queues)
        self.timing = timing or Timing()
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.job_id: int | None = None
        self._child = tuple(child)
        self._stopping = threading.Event()
        self._running = threading.Lock()

    @property
    def is_stopping(self) -> bool:
        """True once `stop` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Let the running job save and return to the queue, and claim no other."""
        self._stopping.set()

    def drain(self, queues: Sequence[str] | None = None) -> int:
        """Claim and run jobs until there are none; return how many ran.

        A worker with a broker does this from two threads, one after the other.
        """
        with self._running:
            return self._drain(queues or self.queues)

    def _drain(self, queues: Sequence[str]) -> int:
        ran = 0
        while not self.is_stopping:
            claimed = self._claim(queues)
            if claimed is None:
                break
            self.run(claimed)
            ran += 1
        return ran

    def poll(self) -> None:
        """Run jobs as they come until `stop`; for workers without a broker."""
        self._poll(self.timing.poll_s)

    def poll_slowly(self) -> None:
        """Run jobs that no wake-up told of, until `stop`: the broker may be away."""
        self._poll(self.timing.slow_poll_s)

    def _poll(self, every_s: float) -> None:
        while not self.is_stopping:
            if not self.drain():
                self._stopping.wait(every_s)

    def run(self, claimed: job_leases.ClaimedJob) -> None:
        """Run one claimed job in its own process until it ends."""
        self.job_id = claimed.job_id
        log.info("job claimed", job=claimed.job_id, kind=claimed.kind, lease=claimed.lease_token)
        path = log_path(self.places.work, claimed.job_id, claimed.lease_token)
        path.parent.mkdir(parents=True, exist_ok=True)
        if claimed.lease_floor:
            folder = artifacts.job_folder(self.places.work, claimed.job_id)
            artifacts.discard_states(folder, up_to_lease=claimed.lease_floor)
        try:
            process = self._process(claimed, path)
            process.hand_over(self._ticket(claimed))
            with Heart(self.database, claimed, self.timing, path, process.pid) as heart:
                self._watch(process, heart, claimed)
            self._settle(claimed, process, path)
        finally:
            self.job_id = None
            if self._group_of(claimed) is not None:
                meeting.end(self.places.work)

    def _claim(self, queues: Sequence[str]) -> job_leases.ClaimedJob | None:
        try:
            with self.database.reader() as session:  # checking takes no write lock
                if not job_leases.has_runnable(session, queues):
                    return None
            with self.database.transaction() as session:
                return job_leases.claim(session, self.name, queues, lease_s=self.timing.lease_s)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            log.warning("claim skipped: database unreachable", reason=str(error.__cause__ or error))
            return None

    def _process(self, claimed: job_leases.ClaimedJob, path: Path) -> Process:
        command = (*self._child, *map(str, _key(claimed)))
        count = self._processes(claimed)
        group = self._group_of(claimed)
        if count == 1 and group is None:
            return Process(command, path, self.timing.grace_s)
        extra = {USES_CPU: "true"} if self.places.device == "cpu" else {}
        shared = None if group is None else Meeting(group, _attempt(claimed))
        if shared is not None:
            log.info("waiting for hosts", job=claimed.job_id, hosts=shared.group.hosts)
            meeting.begin(self.places.work, shared.attempt)
        return Process(together(command, count, shared), path, self.timing.grace_s, extra)

    def _group_of(self, claimed: job_leases.ClaimedJob) -> HostGroup | None:
        """Return the hosts that share the job; None: this one alone."""
        return self.places.group if claimed.kind in TRAINING else None

    def _processes(self, claimed: job_leases.ClaimedJob) -> int:
        """Return the processes on this host: what the job requests, up to this worker's limit.

        In a group of hosts all have as many, so that a job's own request does not count there.
        """
        if claimed.kind not in TRAINING:
            return 1
        if self.places.group is not None:
            return self.places.processes
        requested = claimed.payload.get("processes") or self.places.processes
        return min(int(requested), self.places.processes)

    def _ticket(self, claimed: job_leases.ClaimedJob) -> Ticket:
        url = self.database.engine.url.render_as_string(hide_password=False)
        return Ticket(claimed, url, self.places, os.getpid())

    def _watch(self, process: Process, heart: Heart, claimed: job_leases.ClaimedJob) -> None:
        """Wait for the process's end, passing orders on as they come."""
        is_shared = self._group_of(claimed) is not None
        while not process.wait(_TICK_S):
            gone = meeting.lost(self.places.work, _attempt(claimed)) if is_shared else ""
            if gone:
                process.give_up(f"the host {gone} left the job before its end")
            elif heart.is_lost:
                process.kill_after(_LINGER_S)
            elif self.is_stopping:
                process.order("preempt")
            elif heart.signal is not job_leases.Signal.GO_ON:
                process.order("cancel" if heart.signal is job_leases.Signal.CANCEL else "stop_here")

    def _settle(self, claimed: job_leases.ClaimedJob, process: Process, path: Path) -> None:
        """Store the log, and end the job if its process did not do so itself."""
        try:
            with self.database.transaction() as session:
                job_leases.record_log(session, *_key(claimed), tail(path), pid=process.pid)
            with self.database.transaction() as session:
                job = self._end_for_it(session, claimed, process)
                if job.state in OVER_JOB_STATES and job.round_id is not None:
                    rounds.advance(session, job.round_id)
            log.warning("job ended by its supervisor", job=job.id, state=str(job.state))
            if job.state == JobState.CANCELLED:
                artifacts.discard(artifacts.job_folder(self.places.work, job.id))
        except LeaseLost:  # the process ended its job itself, or another worker has it
            if process.code == 0:
                path.unlink(missing_ok=True)  # the tail is in the attempt's row
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            log.warning("job not settled: database unreachable", job=claimed.job_id)

    def _end_for_it(
        self, session: Session, claimed: job_leases.ClaimedJob, process: Process
    ) -> Job:
        if claimed.round_id is not None:
            job_leases.lock_round(session, claimed.round_id)
        if job_leases.hold(session, *_key(claimed)).cancel_requested:
            return job_leases.cancelled(session, *_key(claimed))
        if self.is_stopping:
            return job_leases.requeue(session, *_key(claimed))
        return job_leases.died(session, *_key(claimed), process.describe_end())


def _attempt(claimed: job_leases.ClaimedJob) -> str:
    return f"job-{claimed.job_id}-{claimed.lease_token}"


def _key(claimed: job_leases.ClaimedJob) -> tuple[int, int]:
    return claimed.job_id, claimed.lease_token

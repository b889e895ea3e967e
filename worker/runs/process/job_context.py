"""The context of a job's run: its payload, its work folder, its reports, and how it ends.

No transaction stays open during computation. While the database is unreachable, a run keeps
computing: reports are buffered in memory, and the end waits for the database. A run whose lease was
lost gets `LeaseLost` at its next report and must stop.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.allowed_models import EVERY_MODEL, AllowedModels
from app.domain.judges.servers import AllowedServer
from app.domain.states import OVER_JOB_STATES
from app.errors import LeaseLost
from app.models import Job
from app.services.jobs import job_leases, job_reports
from worker import artifacts
from worker.orders import Interrupted, Order, Orders
from worker.outages import is_outage
from worker.ticket import Servers

if TYPE_CHECKING:  # it loads torch, which an export must not wait for
    from worker.rlhf.core.parallel import Team

T = TypeVar("T")
Advance = Callable[[Session, int], object]

FLUSH_S: Final = 1.0
MAX_WAITING: Final = 20_000  # metrics kept in memory while the database is away

log = structlog.get_logger(__name__)


class KeptSample(Protocol):
    """A completion worth reading, as a training loop reports it."""

    @property
    def prompt(self) -> str:
        """The prompt as text."""

    @property
    def completion(self) -> str:
        """The completion as text."""

    @property
    def score(self) -> float | None:
        """The reward model's score, if any."""

    @property
    def parts(self) -> Mapping[str, float]:
        """The scores of a combined reward's parts, by name."""


@dataclass(slots=True)
class _Waiting:
    """Buffered reports."""

    progress: tuple[int, int, str] | None = None
    scalars: list[job_reports.Scalar] = field(default_factory=list)
    samples: list[job_reports.StepSample] = field(default_factory=list)


class JobContext:
    """One job, held under one lease, seen from inside its process.

    Attributes:
        database: for short transactions of the run's own reading.
        job_id: the job.
        lease_token: the condition of every write.
        kind: of the job.
        payload: what was enqueued.
        project_id: of the job, if it has one.
        round_id: of the job, if it has one.
        store: the artifact root.
        servers: that may be called for completions.
        judges: servers that AI judges may use.
        allowed_models: the base models that may be loaded.
    """

    def __init__(
        self,
        database: Database,
        claimed: job_leases.ClaimedJob,
        *,
        store: artifacts.Artifacts,
        work_root: Path,
        device: str = "cpu",
        advance: Advance | None = None,
        orders: Orders | None = None,
        servers: Servers | None = None,
        judges: Sequence[AllowedServer] = (),
        allowed_models: AllowedModels = EVERY_MODEL,
    ) -> None:
        self.database = database
        self.job_id = claimed.job_id
        self.lease_token = claimed.lease_token
        self.kind = claimed.kind
        self.payload = claimed.payload
        self.project_id = claimed.project_id
        self.round_id = claimed.round_id
        self.store = store
        self.servers = servers or Servers()
        self.judges = judges
        self.allowed_models = allowed_models
        self.is_over = False
        self.team: Team | None = None  # made by whoever computes, where several do
        self._device = device
        self._work_root = work_root
        self._advance = advance
        self._orders = orders or Orders()
        self._waiting = _Waiting()
        self._flushed_at = float("-inf")  # the first report is written at once

    @property
    def device(self) -> str:
        """The torch device to compute on; "auto" takes the first CUDA device if there is one."""
        if self._device != "auto":
            return self._device
        # Loaded only by runs that compute, so that an export need not wait for it.
        return "cuda" if import_module("torch").cuda.is_available() else "cpu"

    @property
    def title(self) -> str:
        """The name of the run in messages."""
        return f"job {self.job_id}"

    @property
    def run_name(self) -> str:
        """The name of the run where several share a folder."""
        return f"job-{self.job_id}"

    @property
    def attempt(self) -> str:
        """The name of this attempt at the run."""
        return str(self.lease_token)

    def join(self, team: "Team") -> None:
        """Make this one of the processes that share the run, on a device of its own."""
        self.team, self._device = team, str(team.device or self._device)

    def once(self, act: Callable[[], T]) -> T:
        """Do something once per run, however many processes share it."""
        return act() if self.team is None else self.team.once(act)

    @property
    def is_first(self) -> bool:
        """Whether this process evaluates, publishes and succeeds, if several share the run."""
        return self.team is None or self.team.is_first

    def leave_team(self) -> None:
        """End the connections to the other processes."""
        if self.team is not None:
            self.team.leave()

    def say(self, text: str) -> None:
        """Write a sentence to the job's log."""
        log.info(text, job=self.job_id)

    @property
    def workdir(self) -> Path:
        """A local folder of this job that survives attempts on this machine."""
        folder = artifacts.job_folder(self._work_root, self.job_id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def report(self, done: int, total: int, note: str = "") -> None:
        """Report the progress of the run; written at most once a second.

        Raises:
            LeaseLost: the lease was lost; stop at once.
        """
        self._waiting.progress = (done, total, note)
        self._flush_sometimes()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each named curve.

        Raises:
            LeaseLost: the lease was lost; stop at once.
        """
        self._waiting.scalars.extend(
            job_reports.Scalar(step, name, float(value)) for name, value in values.items()
        )
        del self._waiting.scalars[:-MAX_WAITING]
        self._flush_sometimes()

    def samples(self, step: int, samples: Iterable[KeptSample]) -> None:
        """Keep completions for people to read.

        Raises:
            LeaseLost: the lease was lost; stop at once.
        """
        self._waiting.samples.extend(
            job_reports.StepSample(
                step, n, sample.prompt, sample.completion, sample.score, sample.parts
            )
            for n, sample in enumerate(samples)
        )
        del self._waiting.samples[:-MAX_WAITING]
        self._flush_sometimes()

    def should_stop(self) -> Order | None:
        """Return the order in force: cancel, stop here and keep the best, or preempt.

        On "preempt" save a state and return; on "cancel" return; on "stop_here" finish and succeed
        with the best weights so far.
        """
        return self.once(lambda: self._orders.order)  # all processes stop at the same step

    def save_state(self, step: int, write: artifacts.Write) -> Path:
        """Save a training state into `workdir` atomically; keep the newest two."""
        return artifacts.save_state(self.workdir, step, self.lease_token, write)

    def newest_state(self) -> Path | None:
        """Return the newest training state of any attempt here that verifies, or None."""
        return artifacts.newest_state(self.workdir)

    def publish(self, folder: Path, name: str = "") -> artifacts.Published:
        """Copy a finished folder to the artifact root; nothing points at it before `succeed`."""
        key = f"{name or self.kind}/job-{self.job_id}-{self.lease_token}"
        return self.store.publish(folder, key)

    def fetch(self, uri: str, sha256: str = "") -> Path:
        """Return a local folder with a published artifact."""
        return self.once(lambda: self.store.fetch(uri, sha256))

    def succeed(
        self, write: Callable[[Session], Mapping[str, Any] | None] = lambda _session: None
    ) -> None:
        """End the job as succeeded, with the changes of `write` and its result in one transaction.

        `write` may run more than once, each time in a fresh transaction, if the database becomes
        unreachable. After it, `rounds.advance` runs in the same transaction.

        Raises:
            LeaseLost: the lease was lost; nothing was written.
        """
        self._patiently(lambda: self._succeed(write))
        self.is_over = True
        self._discard()

    def fail(self, error: str, *, is_transient: bool) -> None:
        """End the job as failed, or return it to the queue if the error is transient."""
        self._patiently(
            lambda: self._end(
                lambda session: job_leases.fail(
                    session, self.job_id, self.lease_token, error, is_transient=is_transient
                )
            )
        )
        self.is_over = True

    def interrupt(self) -> None:
        """End the job as ordered: canceled, or returned to the queue."""
        end = job_leases.cancelled if self._orders.order == "cancel" else job_leases.requeue
        self._patiently(
            lambda: self._end(lambda session: end(session, self.job_id, self.lease_token))
        )
        self.is_over = True
        if self._orders.order == "cancel":
            self._discard()

    def flush(self) -> None:
        """Write buffered reports; they stay buffered while the database is unreachable.

        Raises:
            LeaseLost: the lease was lost.
        """
        self._flushed_at = time.monotonic()
        try:
            with self.database.transaction() as session:
                self._write_waiting(session)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            log.warning("report buffered: database unreachable", job=self.job_id, reason=str(error))
        except LeaseLost:
            self._count_fenced()
            raise
        else:
            self._waiting = _Waiting()

    def _discard(self) -> None:
        artifacts.discard(artifacts.job_folder(self._work_root, self.job_id))

    def _flush_sometimes(self) -> None:
        if time.monotonic() - self._flushed_at >= FLUSH_S:
            self.flush()

    def _write_waiting(self, session: Session) -> None:
        mine = (self.job_id, self.lease_token)
        if self._waiting.progress is not None:
            done, total, note = self._waiting.progress
            job_leases.progress(session, *mine, done, total, note)
        if self._waiting.scalars:
            job_reports.record_metrics(session, *mine, self._waiting.scalars)
        if self._waiting.samples:
            job_reports.record_samples(session, *mine, self._waiting.samples)

    def _succeed(self, write: Callable[[Session], Mapping[str, Any] | None]) -> None:
        with self.database.transaction() as session:
            if job_leases.has_succeeded(session, self.job_id, self.lease_token):
                return  # the commit succeeded, only its confirmation was lost
            self._lock_round(session)
            job_leases.hold(session, self.job_id, self.lease_token)
            self._write_waiting(session)
            result = write(session) or {}
            job_leases.succeed(session, self.job_id, self.lease_token, result)
            self._advanced(session)
        self._waiting = _Waiting()

    def _end(self, end: Callable[[Session], Job]) -> None:
        with self.database.transaction() as session:
            self._lock_round(session)
            self._write_waiting(session)
            if end(session).state in OVER_JOB_STATES:
                self._advanced(session)
        self._waiting = _Waiting()

    def _lock_round(self, session: Session) -> None:
        if self.round_id is not None:
            job_leases.lock_round(session, self.round_id)

    def _advanced(self, session: Session) -> None:
        if self.round_id is not None and self._advance is not None:
            session.flush()
            self._advance(session, self.round_id)

    def _patiently(self, write: Callable[[], None]) -> None:
        """Write; retry while the database is unreachable."""
        delay_s = 0.2
        while True:
            try:
                return write()
            except SQLAlchemyError as error:
                if not is_outage(error):
                    raise
                log.warning(
                    "job's end delayed: database unreachable", job=self.job_id, reason=str(error)
                )
            except LeaseLost:
                self._count_fenced()
                raise
            self._pause(delay_s)
            delay_s = min(2 * delay_s, 5.0)

    def _pause(self, delay_s: float) -> None:
        if self._orders.order in {"cancel", "preempt"}:
            raise Interrupted(
                f"job {self.job_id} was asked to stop while the database was unreachable"
            )
        self._orders.changed.clear()
        self._orders.changed.wait(delay_s)

    def _count_fenced(self) -> None:
        with suppress(SQLAlchemyError), self.database.transaction() as session:
            job_leases.count_fenced(session, self.job_id)

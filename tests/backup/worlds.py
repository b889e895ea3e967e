"""Installations for tests of backups: filled, written to, and compared."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from app.backup import backups, restores
from app.backup.backup_progress import NoProgress
from app.backup.backups import BackupDone, BackupRequest
from app.backup.encryption import NO_KEY, Unlock
from app.backup.installations import Installation
from app.backup.restores import RestoreDone, RestoreRequest
from app.db import Database
from app.models import Job, Project, User
from app.services.datasets import exports
from app.services.datasets.judged_comparisons import ExportOptions
from app.services.jobs import job_leases, jobs
from app.services.people import login_sessions
from tests.services import sample_votes
from tests.worker.runs import small

FORMAT = "rich"


@dataclass
class World:
    """An installation with one project."""

    database: Database
    folder: Path
    project_id: int = 0
    labeler_id: int = 0
    acknowledged: int = field(default=0)

    @property
    def installation(self) -> Installation:
        url = self.database.engine.url.render_as_string(hide_password=False)
        return Installation(
            url, self.folder, str(self.folder / "artifacts"), self.folder / "secret"
        )

    def fill(self, votes: int = 3) -> "World":
        with self.database.transaction() as session:
            project, people = sample_votes.make_project(session, labelers=1)
            self.project_id, self.labeler_id = project.id, people[0].id
            login_sessions.begin(session, people[0].id)
        for _ in range(votes):
            self.vote()
        return self

    def vote(self) -> None:
        """Add a comparison with its judgment, in one transaction."""
        with self.database.transaction() as session:
            project = session.get_one(Project, self.project_id)
            labeler = session.get_one(User, self.labeler_id)
            comparison = sample_votes.make_comparison(session, project, overlap=1)
            sample_votes.vote(session, comparison, labeler, preferred="a")
        self.acknowledged += 1

    def export(self) -> bytes:
        """Write an export, which is an artifact too, and return its lines."""
        with self.database.transaction() as session:
            project = session.get_one(Project, self.project_id)
            options = ExportOptions()
            row = exports.create(
                session, project, format=FORMAT, options=options, created_by_id=None
            )
            number = row.number
            session.flush()
            session.get_one(Job, row.job_id).priority = 100  # other jobs are left to workers
        small.run_jobs(self.database, self.folder, until=lambda claimed: claimed.kind != "export")
        with self.database.reader() as session:
            uri = exports.get(session, self.project_id, number).uri
        return (self.folder / "artifacts" / uri).read_bytes()

    def backup(self, path: Path, **options: object) -> BackupDone:
        request = BackupRequest(path, "1.2", datetime.now(UTC), **options)  # type: ignore[arg-type]
        return backups.make(self.installation, request, NoProgress())

    def restore(self, path: Path, unlock: Unlock = NO_KEY, **options: bool) -> RestoreDone:
        request = RestoreRequest(path, unlock, **options)
        return restores.restore(self.installation, request, NoProgress())

    def start_job(self) -> job_leases.ClaimedJob:
        """Enqueue a job and claim it, as a worker does."""
        with self.database.transaction() as session:
            jobs.enqueue(session, kind="quick", queue="cpu", payload={})
        with self.database.transaction() as session:
            claimed = job_leases.claim(session, "old worker", ["cpu"], lease_s=3600)
        assert claimed is not None
        return claimed

    def job(self, job_id: int) -> Job:
        with self.database.reader() as session:
            return jobs.get(session, job_id)

    def count(self, model: type) -> int:
        with self.database.reader() as session:
            return session.scalar(select(func.count()).select_from(model)) or 0


@contextmanager
def written_to(world: World) -> Iterator[None]:
    """Let votes come in while the block runs."""
    over = threading.Event()
    failures: list[Exception] = []

    def write() -> None:
        while not over.is_set():
            try:
                world.vote()
            except OperationalError as error:
                if "database is locked" not in str(error):  # it waited for too long: vote again
                    failures.append(error)
                    return
            except Exception as error:  # noqa: BLE001 - raised again below
                failures.append(error)
                return

    writer = threading.Thread(target=write)
    writer.start()
    before = world.acknowledged
    while world.acknowledged == before and writer.is_alive():
        time.sleep(0.01)
    try:
        yield
    finally:
        over.set()
        writer.join()
    if failures:
        raise failures[0]


def snapshot_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

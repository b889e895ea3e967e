"""Upgrades of the database that can go back: back up, migrate, verify, or restore.

A migration is one transaction, so one that fails has changed nothing. If the verification finds a
fault, the backup that was taken before is restored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from app.backup import backups, installations, restores
from app.backup.backup_progress import BackupProgress
from app.backup.backups import BackupRequest
from app.backup.installations import Installation
from app.backup.restores import RestoreDone, RestoreRequest
from app.db import Database, schema
from app.errors import NotFound, Unavailable
from app.services.people import audit

_NEVER_FEWER: Final = (
    "user",
    "project",
    "prompt",
    "completion",
    "comparison",
    "judgment",
    "checkpoint",
    "audit_event",
)
_ENDING: Final = ".backup"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class UpgradeDone:
    """An upgrade: from and to which revision, and the backup that was taken before."""

    before: str
    after: str
    backup: Path | None


def upgrade(
    installation: Installation, version: str, progress: BackupProgress, say: Say
) -> UpgradeDone:
    """Bring the database to this version's tables.

    Raises:
        Invalid: the database is empty or of a newer version, or there is too little space.
        Unavailable: the migration failed and was undone.
    """
    with installation.database() as database:
        before = installations.known_revision(schema.revision(database.engine), "the database")
        head = schema.head() or ""
        if before == head:
            return UpgradeDone(before, head, None)
        rows = _rows(database)
    now = datetime.now(UTC)
    path = _folder(installation) / f"before-{head}-{now:%Y%m%dT%H%M%S.%fZ}{_ENDING}"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    say(f"Backing up the database at revision {before} …")
    request = BackupRequest(path, version, now, has_artifacts=False)
    backups.make(installation, request, progress)
    say(f"Wrote {path}.")
    say(f"Migrating to revision {head} …")
    _migrate(installation, before)
    say("Verifying …")
    faults = _faults(installation, rows)
    if faults:
        restores.restore(installation, _back_to(path), progress)
        raise Unavailable(
            f"the migration to {head} was undone, and the database is as it was: {faults[0]}"
        )
    return UpgradeDone(before, head, path)


def newest_backup(installation: Installation) -> Path:
    """Return the backup that was taken before the newest upgrade.

    Raises:
        NotFound: there is none.
    """
    found = list(_folder(installation).glob(f"before-*{_ENDING}"))
    if not found:
        raise NotFound(f"there is no upgrade to go back from: {_folder(installation)} is empty")
    return max(found, key=lambda path: path.name.rsplit("-", 1)[1])


def go_back(installation: Installation, progress: BackupProgress) -> RestoreDone:
    """Restore the database as it was before the newest upgrade, at its older revision.

    The database as it is now is kept aside, with everything that was added since.

    Raises:
        NotFound: there was no upgrade.
    """
    path = newest_backup(installation)
    return restores.restore(installation, _back_to(path), progress)


def _folder(installation: Installation) -> Path:
    return installation.data_dir / "upgrades"


def _back_to(path: Path) -> RestoreRequest:
    return RestoreRequest(path, replaces=True, migrates=False)


def _migrate(installation: Installation, before: str) -> None:
    with installation.database() as database:
        try:
            schema.upgrade(database.engine)
        except SQLAlchemyError as error:
            if schema.revision(database.engine) != before:
                raise
            reason = str(error).splitlines()[0]
            raise Unavailable(
                f"the migration failed and was undone; the database is at revision {before} as "
                f"before: {reason}"
            ) from error


def _faults(installation: Installation, before: dict[str, int]) -> list[str]:
    """Return what is wrong after a migration."""
    faults = []
    with installation.database() as database:
        if not schema.is_current(database.engine):
            faults.append(f"it is at revision {schema.revision(database.engine)}")
        drift = schema.drift(database.engine)
        if drift:
            faults.append(f"its tables differ from this version's: {drift[0]}")
        after = _rows(database)
        faults += [
            f"table {table} has {after.get(table, 0):,} rows instead of {before[table]:,}"
            for table in _NEVER_FEWER
            if after.get(table, 0) < before.get(table, 0)
        ]
        with database.reader() as session:
            broken = audit.broken_at(session)
        if broken is not None:
            faults.append(f"the audit log breaks at event {broken}")
    return faults


def _rows(database: Database) -> dict[str, int]:
    with database.engine.connect() as connection:
        return installations.rows(connection)

"""Restoring an installation from a backup.

1. The target is looked at: one that has been used is replaced only on request, and kept aside.
2. The whole backup is read into a folder and verified; until here nothing is changed.
3. The artifacts are written. Those that are there with the same content stay as they are, and what
   no backup names is left alone: artifacts never change, and only rows point at them.
4. The database is replaced in one step. In the same step old leases are fenced and running jobs go
   back to the queue (`services/jobs/restored_jobs`).
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from sqlalchemy import Delete, Update, inspect
from sqlalchemy.dialects import postgresql

from app.backup import artifact_stores, backup_readers, installations, postgres_dumps, sqlite_copies
from app.backup.artifact_stores import ArtifactStore
from app.backup.backup_manifest import BackupHeader, BackupManifest
from app.backup.backup_progress import BackupProgress
from app.backup.backup_readers import StagedBackup
from app.backup.encryption import NO_KEY, Unlock
from app.backup.installations import Installation
from app.backup.postgres_dumps import SchemaSwap
from app.db import Database, schema
from app.errors import Conflict, Invalid
from app.models import Restoration
from app.services.jobs import restored_jobs

_SPARE: Final = 64 << 20
_POSTGRES: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What is restored, and what may be replaced.

    Args:
        replaces: a database that has been used is replaced, and kept aside.
        migrates: an older database is brought to this version's tables.
    """

    path: Path
    unlock: Unlock = NO_KEY
    replaces: bool = False
    migrates: bool = True


@dataclass(frozen=True, slots=True)
class RestoreDone:
    """What a restoration did; `aside` is where the replaced database is, empty if there is none."""

    manifest: BackupManifest
    aside: str
    revision: str
    artifacts_written: int
    artifacts_there: int
    jobs_taken_back: int
    secret_file: Path | None


@dataclass(frozen=True, slots=True)
class _Target:
    """The database that is replaced."""

    is_used: bool
    tables: Sequence[str]
    moment: datetime
    floor: int  # above every lease token that a worker may still hold

    @property
    def stamp(self) -> str:
        """What the names end with of what is kept aside."""
        return f"restore-{self.moment:%Y%m%d-%H%M%S-%f}"  # two may be in one second


def restore(
    installation: Installation, request: RestoreRequest, progress: BackupProgress
) -> RestoreDone:
    """Restore an installation.

    Raises:
        Conflict: the target has been used and is not to be replaced, or is in use.
        Invalid: the backup cannot be used: damaged, truncated, another key, another kind of
            database, a newer version; or there is too little space.
        Unavailable: the database does not respond, or a program for it is missing.
    """
    target = _look_at(installation, request)
    work = Path(tempfile.mkdtemp(prefix=".restore-", dir=installation.data_dir))
    try:
        staged = backup_readers.read(
            request.path,
            request.unlock,
            progress,
            refuse=lambda header: _refuse(header, installation),
            place=work,
        )
        store = artifact_stores.store_at(installation.artifacts)
        written, there = _write_artifacts(store, staged, request, target.stamp, progress)
        progress.begin("Restoring the database", 0)
        replace = _replace_sqlite if installation.kind == "sqlite" else _replace_postgres
        aside = replace(installation, request, staged, target)
        secret_file = _write_secret(installation, staged, target.stamp)
        with installation.database() as database, database.reader() as session:
            taken_back = restored_jobs.taken_back(session, target.moment)
            revision = schema.revision(database.engine) or ""
        return RestoreDone(
            staged.manifest, aside, revision, written, there, taken_back, secret_file
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _look_at(installation: Installation, request: RestoreRequest) -> _Target:
    moment = datetime.now(UTC)
    if installation.kind == "sqlite" and not installation.database_file.exists():
        installation.database_file.parent.mkdir(parents=True, exist_ok=True)
        return _Target(False, (), moment, restored_jobs.floor_at(moment))
    with installation.database() as database, database.engine.connect() as connection:
        others = installations.strangers(connection)
        if others:
            raise Conflict(
                f"the database has tables that are not Attune's ({', '.join(others[:3])}); restore "
                "into a database of its own"
            )
        is_used = not installations.is_empty(connection)
        if is_used and not request.replaces:
            raise Conflict(
                "the database is not empty; --replace restores over it and keeps it aside"
            )
        tables = installations.tables(connection)
    with installation.database() as database, database.reader() as session:
        newest = restored_jobs.newest_token(session) if tables else 0
    return _Target(is_used, tables, moment, restored_jobs.floor_at(moment, above=newest))


def _refuse(header: BackupHeader, installation: Installation) -> None:
    if header.database != installation.kind:
        names = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
        raise Invalid(
            f"the backup is of a {names[header.database]} database, and this installation uses "
            f"{names[installation.kind]}"
        )
    installations.known_revision(header.revision, "the backup")
    size = 2 * header.database_bytes + 2 * header.artifact_bytes
    _check_space(installation.data_dir, shutil.disk_usage(installation.data_dir).free, size)
    free = artifact_stores.store_at(installation.artifacts).free()
    if free is not None:
        _check_space(installation.artifacts, free, header.artifact_bytes)


def _check_space(where: object, free: int, needed: int) -> None:
    if free < needed + _SPARE:
        raise Invalid(
            f"restoring needs {(needed + _SPARE) // 2**20:,} MiB below {where}, and "
            f"{free // 2**20:,} MiB are free"
        )


def _write_artifacts(
    store: ArtifactStore,
    staged: StagedBackup,
    request: RestoreRequest,
    stamp: str,
    progress: BackupProgress,
) -> tuple[int, int]:
    """Write the artifacts that are not there; return how many were written and how many not."""
    artifacts = staged.manifest.artifacts
    progress.begin("Comparing artifacts", 0)
    states = [artifact_stores.is_same(store, artifact) for artifact in artifacts]
    differing = [files.uri for files, same in zip(artifacts, states, strict=True) if same is False]
    if differing and not request.replaces:
        raise Conflict(
            f"artifact {differing[0]} is there with other content; --replace keeps that aside"
        )
    progress.begin("Writing artifacts", staged.manifest.object_bytes)
    for files, same in zip(artifacts, states, strict=True):
        if same is False:
            store.move_aside(files.uri, stamp)
        if not same:
            store.write(files, lambda file, to: _copy(staged.object(file.sha256), to))
            progress.advance(sum(file.bytes for file in files.files))
    there = sum(same is True for same in states)
    return len(artifacts) - there, there


def _copy(path: Path, to: IO[bytes]) -> None:
    with path.open("rb") as source:
        shutil.copyfileobj(source, to, 1 << 20)


def _replace_sqlite(
    installation: Installation, request: RestoreRequest, staged: StagedBackup, target: _Target
) -> str:
    """Prepare the database in a file of its own, then replace the live one."""
    plain = staged.database.with_name("restored.sqlite3")
    with staged.database.open("rb") as packed:
        sqlite_copies.expand(packed, plain, staged.manifest.header.database_bytes)
    sqlite_copies.check(plain, "the database of the backup")
    database = Database(f"sqlite:///{plain}", pool_size=1)
    try:
        with database.engine.connect() as connection:
            _compare_rows(staged.manifest, installations.rows(connection))
        with database.transaction() as session:
            for statement in restored_jobs.statements(target.floor, target.moment):
                session.execute(statement)
        _settle(database, staged.manifest, request, target)
    finally:
        database.dispose()
    live = installation.database_file
    aside = live.with_name(f"{live.name}.before-{target.stamp}") if target.is_used else None
    sqlite_copies.replace(live, plain, aside)
    return str(aside or "")


def _replace_postgres(
    installation: Installation, request: RestoreRequest, staged: StagedBackup, target: _Target
) -> str:
    """Replace the schema in one transaction; go back if the older tables cannot be migrated."""
    name = staged.manifest.header.schema_name
    aside = f"before_{target.stamp}".replace("-", "_")
    statements = [
        *(_has_rows(table, count) for table, count in staged.manifest.rows.items()),
        *map(_literal, restored_jobs.statements(target.floor, target.moment)),
    ]
    with installation.database() as database:
        with database.engine.connect() as connection:
            current = inspect(connection).default_schema_name
        if current != name:
            raise Invalid(f"the backup is of the schema {name}, and this database uses {current}")
        swap = SchemaSwap(name, aside, target.tables)
        postgres_dumps.load(database.engine, staged.database, swap, statements)
        try:
            _settle(database, staged.manifest, request, target)
        except Exception:
            with database.engine.begin() as connection:
                postgres_dumps.go_back(connection, name, aside)
            raise
        if not target.is_used:
            with database.engine.begin() as connection:
                postgres_dumps.drop(connection, aside)
    return f"schema {aside}" if target.is_used else ""


def _settle(
    database: Database, manifest: BackupManifest, request: RestoreRequest, target: _Target
) -> None:
    """Bring the tables to this version, and record the restoration."""
    if request.migrates:
        schema.upgrade(database.engine)
    if not inspect(database.engine).has_table(Restoration.__tablename__):
        return  # of an older version, which does not keep it
    with database.transaction() as session:
        restored_jobs.record(
            session, target.floor, sha256=manifest.sha256, taken_at=manifest.header.taken_at
        )


def _compare_rows(manifest: BackupManifest, actual: dict[str, int]) -> None:
    for table, count in manifest.rows.items():
        if actual.get(table) != count:
            raise Invalid(
                f"the backup is damaged: table {table} has {actual.get(table, 0):,} rows instead "
                f"of {count:,}"
            )


def _has_rows(table: str, count: int) -> str:
    """Return a statement that fails unless the table has this many rows."""
    quoted = _POSTGRES.identifier_preparer.quote(table)
    literal = table.replace("'", "''")
    return (
        f"DO $check$ BEGIN IF (SELECT count(*) FROM {quoted}) <> {count} THEN RAISE EXCEPTION "
        f"'the backup is damaged: table {literal} has other than {count} rows'; END IF; END $check$"
    )


def _literal(statement: Update | Delete) -> str:
    return str(statement.compile(dialect=_POSTGRES, compile_kwargs={"literal_binds": True}))


def _write_secret(installation: Installation, staged: StagedBackup, stamp: str) -> Path | None:
    """Write the secret of a backup that has one: where it is read from, or beside."""
    secret = staged.secret
    if secret is None:
        return None
    path = installation.secret_file or installation.data_dir / "secret.restored"
    if path.exists() and path.read_bytes() != secret:
        path.rename(path.with_name(f"{path.name}.before-{stamp}"))
    sqlite_copies.write_privately(path, secret)
    return path

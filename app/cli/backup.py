"""`backup` and `restore`: the whole installation into a file or a folder, and back."""

import getpass
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from app import full_disk
from app.backup import backup_folders, backup_readers, backups, encryption, restores
from app.backup.backup_manifest import BackupManifest
from app.backup.backups import BackupDone, BackupRequest
from app.backup.encryption import EncryptionKey, Unlock
from app.backup.installations import Installation
from app.backup.restores import RestoreDone, RestoreRequest
from app.cli.console import emit, err, say
from app.errors import Invalid, Unavailable
from app.services.jobs import backups_taken
from app.settings import Settings, load

KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help="File with an age identity, or with recipients."),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File whose first line is the passphrase; - asks for it.",
        allow_dash=True,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backup)
    app.command()(restore)


def backup(
    to: Annotated[
        str,
        typer.Argument(help="The file to write, or a folder (with / or existing) of backups."),
    ],
    database_only: Annotated[
        bool, typer.Option("--database-only", help="Leave the models and exports out.")
    ] = False,
    with_secret: Annotated[
        bool, typer.Option("--with-secret", help="Include the installation's secret.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    key_file: KeyFile = None,
    new_key_file: Annotated[
        Path | None,
        typer.Option(help="Create a key file here, and encrypt with it."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Keep this many backups in the folder; remove older ones."),
    ] = None,
) -> None:
    """Back up the database and the artifacts while people work."""
    settings = load()
    moment = datetime.now(UTC)
    path, shares = _target(to, moment)
    if keep is not None and not shares:
        raise Invalid(f"--keep is for a folder of backups, and {path} is a file")
    if sum(given is not None for given in (passphrase_file, key_file, new_key_file)) > 1:
        raise Invalid("give one of --passphrase-file, --key-file and --new-key-file")
    request = BackupRequest(
        path=path,
        version=version("attune"),
        taken_at=moment,
        shares=shares,
        has_artifacts=not database_only,
        secret=settings.secret if with_secret else None,
        key=_key(path.parent if shares else None, passphrase_file, key_file, new_key_file),
        keep=keep,
    )
    installation = installation_of(settings)
    with showing() as progress:
        done = backups.make(installation, request, progress)
    _tell(done, request)
    if not done.manifest.damaged:
        _note(installation, request)
    if done.manifest.damaged:
        raise typer.Exit(1)


def restore(
    path: Annotated[
        Path, typer.Argument(help="The backup, or a folder: its newest backup.", exists=True)
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Verify the backup, and restore nothing.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace a database that is not empty; keep it aside."),
    ] = False,
    passphrase_file: PassphraseFile = None,
    key_file: KeyFile = None,
) -> None:
    """Restore an installation from a backup, after verifying all of it."""
    if path.is_dir():
        path = backup_folders.newest(path)
    passphrase = _passphrase(passphrase_file, confirms=False) if passphrase_file else None
    unlock = Unlock(passphrase, key_file)
    if check:
        with showing() as progress:
            manifest = backup_readers.read(path, unlock, progress).manifest
        emit({"file": str(path), **_facts(manifest)})
        say(f"{path} is whole.")
        return
    installation = installation_of(load())
    with showing() as progress:
        done = restores.restore(installation, RestoreRequest(path, unlock, replace), progress)
    emit({"file": str(path), **_facts(done.manifest), "aside": done.aside})
    tell_restored(done)


def installation_of(settings: Settings) -> Installation:
    """Return where the settings keep the installation."""
    secret_file = settings.data_dir / "secret" if settings.secret_key is None else None
    return Installation(
        settings.database, settings.data_dir.absolute(), settings.artifacts, secret_file
    )


def tell_restored(done: RestoreDone) -> None:
    """Say what a restoration did, and what people must know."""
    manifest = done.manifest
    rows = manifest.rows
    say(
        f"Restored the state of {manifest.header.taken_at:%Y-%m-%d %H:%M:%S} UTC. "
        f"Projects: {rows.get('project', 0):,}; judgments: {rows.get('judgment', 0):,}; artifacts "
        f"written: {done.artifacts_written:,}, and there already: {done.artifacts_there:,}."
    )
    if done.revision != manifest.header.revision:
        say(f"The database was migrated from {manifest.header.revision} to {done.revision}.")
    if done.jobs_taken_back:
        say(
            f"Jobs that ran when the backup was taken: {done.jobs_taken_back}. They are queued "
            "again, or ended if that had been asked for."
        )
    if done.aside:
        say(f"What was there before is kept as {done.aside}; remove it once nobody needs it.")
    if done.secret_file is not None:
        say(f"The secret is in {done.secret_file}.")
    if not manifest.header.has_artifacts:
        say("The backup has no artifacts; those at the artifact root were left as they are.")
    _warn_of_damage(manifest)
    say(
        "Everyone signs in again. Passwords, accounts, API tokens and invitations are as they "
        "were: what was revoked or used since then is valid again."
    )


@contextmanager
def showing() -> Iterator["_Bars"]:
    """Show progress while the block runs, in a terminal.

    Raises:
        Unavailable: the disk is full or a file cannot be used; nothing is left half done.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    hidden = not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=hidden) as progress:
        try:
            yield _Bars(progress)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(_reason(error)) from error


def _reason(error: Exception) -> str:
    path = getattr(error, "filename", None) or "a file"
    if full_disk.is_cause_of(error):
        return f"the disk is full ({path}); nothing was left half done: free some space, try again"
    return f"{path}: {getattr(error, 'strerror', None) or error}"


class _Bars:
    """A bar for each stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, visible=False)

    def begin(self, stage: str, total: int) -> None:
        """Show another stage."""
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(stage, total=total or None)

    def advance(self, count: int) -> None:
        """Move the bar."""
        self._progress.advance(self._task, count)


def _target(to: str, moment: datetime) -> tuple[Path, bool]:
    """Return the file to write, and whether it is in a folder of backups."""
    path = Path(to).absolute()
    if not to.endswith("/") and not path.is_dir():
        return path, False
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path / backup_folders.name_at(moment), True


def _key(
    folder: Path | None, passphrase_file: Path | None, key_file: Path | None, new: Path | None
) -> EncryptionKey | None:
    if passphrase_file is not None:
        known = backup_folders.known_key(folder) if folder else b""
        passphrase = _passphrase(passphrase_file, confirms=not known)
        return encryption.from_passphrase(passphrase, known)
    if key_file is not None:
        return encryption.read_key_file(key_file)
    if new is None:
        return None
    key = encryption.write_key_file(new)
    say(f"Wrote the key to {new}. Without it the backup cannot be read: keep a copy elsewhere.")
    return key


def _passphrase(path: Path, *, confirms: bool) -> str:
    if str(path) == "-":
        ask: Callable[[str], str] = getpass.getpass if sys.stdin.isatty() else _line
        passphrase = ask("Passphrase: ")
        if confirms and sys.stdin.isatty() and ask("Repeat it: ") != passphrase:
            raise Invalid("the two passphrases differ")
        return passphrase
    try:
        return (path.read_text(encoding="utf-8").splitlines() or [""])[0]
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"the passphrase file {path} cannot be read: {error}") from error


def _line(_prompt: str) -> str:
    return sys.stdin.readline().rstrip("\r\n")


def _facts(manifest: BackupManifest) -> dict[str, object]:
    header = manifest.header
    return {
        "taken_at": header.taken_at.isoformat(),
        "version": header.version,
        "revision": header.revision,
        "database": header.server,
        "rows": sum(manifest.rows.values()),
        "artifacts": len(manifest.artifacts),
        "damaged": [damaged.uri for damaged in manifest.damaged],
        "secret": manifest.has_secret,
        "sha256": manifest.sha256,
    }


def _note(installation: Installation, request: BackupRequest) -> None:
    """Let the installation know of its backup; the backup is whole also if that fails."""
    try:
        with installation.database() as database, database.transaction() as session:
            backups_taken.note(
                session,
                taken_at=request.taken_at,
                name=request.path.name,
                has_artifacts=request.has_artifacts,
            )
    except Unavailable as error:
        err.print(
            f"! the backup is whole, but its time could not be noted, so warnings of an old backup "
            f"go on: {error}",
            markup=False,
        )


def _tell(done: BackupDone, request: BackupRequest) -> None:
    emit({"file": str(done.path), "bytes": done.bytes, **_facts(done.manifest)})
    new = f"; new files: {done.new_objects:,}" if request.shares else ""
    say(
        f"Wrote {done.path} ({done.bytes / 2**20:,.1f} MiB). "
        f"Rows: {sum(done.manifest.rows.values()):,}; "
        f"artifacts: {len(done.manifest.artifacts):,}{new}."
    )
    if not request.has_artifacts:
        say("Models and exports are left out (--database-only).")
    if request.secret is None:
        say("The secret is not in it (--with-secret puts it in).")
    _warn_of_damage(done.manifest)
    if done.pruned is not None:
        removed = ", ".join(done.pruned.backups) or "none"
        say(f"Older backups removed: {removed}; files: {done.pruned.objects:,}.")
        if done.pruned.kept_because:
            say(done.pruned.kept_because)
    elif request.keep is not None:
        say("No older backup was removed, because this one is not whole.")


def _warn_of_damage(manifest: BackupManifest) -> None:
    for damaged in manifest.damaged:
        err.print(f"! artifact {damaged.uri} is not in the backup: {damaged.reason}", markup=False)

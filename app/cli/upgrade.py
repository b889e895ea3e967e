"""`upgrade`: bring the database to this version's tables, in steps that can be undone."""

from importlib.metadata import version
from typing import Annotated

import typer

from app.backup import upgrades
from app.cli import doctor
from app.cli.backup import installation_of, showing, tell_restored
from app.cli.console import emit, fail, say
from app.settings import load

_OWN_CHECK = "database"  # that it is at an older revision is why there is an upgrade


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(upgrade)


def upgrade(
    back: Annotated[
        bool,
        typer.Option("--back", help="Restore the database as it was before the newest upgrade."),
    ] = False,
) -> None:
    """Check, back up the database, migrate and verify it. Stop Attune first."""
    installation = installation_of(load())
    if back:
        with showing() as progress:
            done = upgrades.go_back(installation, progress)
        emit({"revision": done.revision, "aside": done.aside})
        tell_restored(done)
        written_by = done.manifest.header.version
        say(
            f"The database is at revision {done.revision}. Start Attune {written_by}, which wrote "
            "it; this version would upgrade it again."
        )
        return
    _check()
    with showing() as progress:
        result = upgrades.upgrade(installation, version("attune"), progress, say)
    backup = str(result.backup or "")
    emit({"before": result.before, "revision": result.after, "backup": backup})
    if result.backup is None:
        say(f"The database is at revision {result.after} already; nothing was done.")
    else:
        say(f"The database is at revision {result.after}. attune upgrade --back undoes it.")


def _check() -> None:
    """End with status 1 at the first finding of `doctor` that an upgrade does not repair."""
    say("Checking the installation …")
    for finding in doctor.examine():
        if finding.state == "fail" and finding.name != _OWN_CHECK:
            fail(f"{finding.name}: {finding.message}")

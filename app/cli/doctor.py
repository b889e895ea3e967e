"""`doctor`: checks of this installation, with remedies for problems."""

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Annotated, Literal

import typer
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import queue
from app.cli.console import emit, err
from app.db import Database, schema
from app.errors import AttuneError
from app.settings import Settings, load
from app.web.render import STATIC, TEMPLATES

FREE_DISK_MIB = 1024
SQLITE_MIN = (3, 38, 0)  # JSON operators and UPDATE … RETURNING


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    state: Literal["ok", "warn", "fail"]
    message: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the installation; exit with status 1 if a check fails."""
    findings = list(examine())
    if as_json:
        emit({"findings": [asdict(finding) for finding in findings]})
    else:
        marks = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]✗[/red]"}
        for finding in findings:
            err.print(f"{marks[finding.state]} {finding.name:<12} {finding.message}")
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Run all checks."""
    try:
        settings = load()
    except (AttuneError, ValueError) as error:
        yield Finding("settings", "fail", str(error))
        return
    yield Finding("settings", "ok", "all ATTUNE_ variables are known")
    for check in (_secret, _disk, _sqlite, _database, _broker, _pages, _worker):
        yield check(settings)


def _secret(settings: Settings) -> Finding:
    try:
        length = len(settings.secret)
    except AttuneError as error:
        return Finding("secret", "fail", str(error))
    return Finding("secret", "ok", f"{length} bytes")


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.data_dir).free // 2**20
    state: Literal["ok", "warn"] = "ok" if free >= FREE_DISK_MIB else "warn"
    return Finding("disk", state, f"{free:,} MiB free below {settings.data_dir}")


def _sqlite(settings: Settings) -> Finding:
    if not settings.database.startswith("sqlite"):
        return Finding("sqlite", "ok", "not used")
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        return Finding("sqlite", "fail", f"{sqlite3.sqlite_version} is older than 3.38")
    if settings.database_url is not None:
        return Finding("sqlite", "warn", "meant for the embedded default; use PostgreSQL to share")
    return Finding("sqlite", "ok", f"{sqlite3.sqlite_version}, rollback journal, synchronous=FULL")


def _database(settings: Settings) -> Finding:
    database = Database(settings.database)
    try:
        with database.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        at, head = schema.revision(database.engine), schema.head()
    except SQLAlchemyError as error:
        return Finding("database", "fail", f"not responding: {str(error).splitlines()[0]}")
    finally:
        database.dispose()
    if at != head and not settings.is_embedded:
        return Finding("database", "fail", f"at revision {at}, not {head}: run attune migrate")
    return Finding("database", "ok", f"responding; revision {at or 'created at the first start'}")


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is None:
        return Finding("broker", "ok", "none: workers poll the database")
    queue.configure(settings.broker_url)
    if not queue.is_reachable():
        return Finding("broker", "warn", "not responding; jobs start later, but none is lost")
    return Finding("broker", "ok", "responding")


def _pages(_settings: Settings) -> Finding:
    if not TEMPLATES.is_dir() or not STATIC.is_dir():
        return Finding("pages", "fail", f"templates or static files are missing at {STATIC.parent}")
    return Finding("pages", "ok", "templates and static files are present")


def _worker(_settings: Settings) -> Finding:
    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        return Finding("worker", "warn", f"{', '.join(missing)} missing: no worker can run here")
    return Finding("worker", "ok", "torch, transformers and peft are installed")

"""The checks of `doctor`: each returns what it found, with the remedy, and never raises."""

import importlib.util
import os
import shutil
import socket
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from app import queue
from app.db import Database, connection_errors, schema
from app.domain.judges import servers
from app.domain.single_sign_on import SingleSignOn
from app.errors import AttuneError
from app.services.jobs import backups_taken
from app.services.people import second_factors
from app.settings import DATABASE_FILE, FROM_FILES, Settings
from app.web import transport
from app.web.render import STATIC, TEMPLATES

FREE_DISK_MIB: Final = 1024
SQLITE_MIN: Final = (3, 38, 0)  # JSON operators and UPDATE … RETURNING
POSTGRES_MIN: Final = 150000

_LIBRARIES: Final = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
"""What fsspec needs to reach an artifact root; other schemes come with it."""
_LOCAL: Final = ("", "file", "local", "memory")

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    state: State
    message: str


def of(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Run all checks of an installation whose settings could be read."""
    yield from _folder(settings)
    yield from _secret(settings)
    yield from _secret_files(settings)
    yield _sqlite(settings)
    yield from _database(settings)
    yield _broker(settings)
    yield _artifacts(settings)
    yield from _adapters(settings)
    yield _base_models(settings)
    yield from _exposure(settings)
    yield _single_sign_on(settings)
    yield from _port(settings)
    yield _jobs(settings)
    yield from _servers(settings, environment)
    yield _pages()
    yield _worker()


def _folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.absolute()
    reason = _why_unwritable(folder)
    if reason:
        yield Finding("folder", "fail", f"{reason}; set ATTUNE_DATA_DIR to a folder of this user")
        return
    free = shutil.disk_usage(_existing(folder)).free // 2**20
    state: State = "ok" if free >= FREE_DISK_MIB else "warn"
    yield Finding("disk", state, f"{free:,} MiB free below {folder}")
    for name in (DATABASE_FILE, "secret"):
        path = folder / name
        if path.is_file() and path.stat().st_mode & 0o077:
            mode = stat.S_IMODE(path.stat().st_mode)
            yield Finding(
                "private",
                "fail",
                f"others can read {path} (mode {mode:o}): run chmod 600 {path}"
                + (", and replace the secret if others use this machine" * (name == "secret")),
            )


def _secret(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir / "secret"
    if settings.secret_key is None and settings.is_embedded and not path.exists():
        yield Finding("secret", "ok", "created at the first start")
        return
    try:
        length = len(settings.secret)
    except AttuneError as error:
        yield Finding("secret", "fail", str(error))
    except OSError as error:
        yield Finding("secret", "fail", f"{path} cannot be read: {error.strerror}")
    else:
        yield Finding("secret", "ok", f"{length} bytes")


def _secret_files(settings: Settings) -> Iterator[Finding]:
    for name in FROM_FILES:
        path: Path | None = getattr(settings, f"{name}_file")
        if path is not None and path.stat().st_mode & 0o004:
            yield Finding("secret files", "warn", f"everyone can read {path}: run chmod o-r {path}")


def _sqlite(settings: Settings) -> Finding:
    if not settings.database.startswith("sqlite"):
        return Finding("sqlite", "ok", "not used")
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        return Finding("sqlite", "fail", f"{sqlite3.sqlite_version} is older than 3.38")
    if settings.database_url is not None:
        return Finding("sqlite", "warn", "meant for the embedded default; use PostgreSQL to share")
    return Finding("sqlite", "ok", f"{sqlite3.sqlite_version}, rollback journal, synchronous=FULL")


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.is_embedded and not (settings.data_dir / DATABASE_FILE).exists():
        yield Finding("database", "ok", "created at the first start")
        return
    try:
        backend = make_url(settings.database).get_backend_name()
        if backend not in {"sqlite", "postgresql", "postgres"}:
            yield Finding(
                "database",
                "fail",
                f"ATTUNE_DATABASE_URL must begin with postgresql:// or sqlite://, not {backend}://",
            )
            return
        database = Database(settings.database, pool_size=1)
    except (SQLAlchemyError, ValueError) as error:
        yield Finding("database", "fail", f"ATTUNE_DATABASE_URL cannot be read: {_line(error)}")
        return
    except ImportError as error:
        package = error.name or "psycopg"
        yield Finding("database", "fail", f"{package} is not installed: pip install '.[postgres]'")
        return
    try:
        yield from _tables(database.engine, settings)
        yield from _second_factors(database, settings)
        yield from _backup(database, settings)
    except SQLAlchemyError as error:
        yield Finding("database", "fail", f"not responding: {connection_errors.in_words(error)}")
    finally:
        database.dispose()


def _tables(engine: Engine, settings: Settings) -> Iterator[Finding]:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        if engine.dialect.name == "postgresql":
            number = int(connection.scalar(text("SHOW server_version_num")) or 0)
            if number < POSTGRES_MIN:
                version = f"PostgreSQL {number // 10000}"
                yield Finding("postgresql", "fail", f"{version} is too old: 15 or newer is needed")
    at, head = schema.revision(engine), schema.head()
    if at == head:
        yield Finding("database", "ok", f"responding; revision {at}")
    elif at is not None and not schema.is_known(at):
        yield Finding(
            "database",
            "fail",
            f"it is at revision {at}, which this version does not know: install the newer version "
            "that wrote it, or restore a backup",
        )
    elif settings.is_embedded:
        yield Finding("database", "ok", "responding; upgraded at the next start")
    else:
        yield Finding("database", "fail", f"it {schema.behind(at, head)}: run attune migrate")


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is None:
        return Finding("broker", "ok", "none: workers poll the database")
    parts = urlsplit(settings.broker_url)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        return Finding(
            "broker", "fail", "ATTUNE_BROKER_URL must be like redis://host:6379/0; jobs start late"
        )
    queue.configure(settings.broker_url)
    if not queue.is_reachable():
        return Finding("broker", "warn", "not responding; jobs start later, but none is lost")
    return Finding("broker", "ok", "responding")


def _artifacts(settings: Settings) -> Finding:
    root = settings.artifacts
    scheme = root.partition("://")[0] if "://" in root else ""
    if scheme in _LOCAL:
        reason = _why_unwritable(Path(root.removeprefix(f"{scheme}://")).absolute())
        if reason:
            return Finding("artifacts", "fail", f"{reason}; set ATTUNE_ARTIFACTS_URL")
        return Finding("artifacts", "ok", root)
    if scheme not in _LIBRARIES:
        known = ", ".join(f"{name}://" for name in ("s3", "gs"))
        return Finding(
            "artifacts",
            "fail",
            f"ATTUNE_ARTIFACTS_URL must be a folder or begin with {known}, not {scheme}://",
        )
    library = _LIBRARIES[scheme]
    if importlib.util.find_spec(library) is None:
        return Finding("artifacts", "fail", f"{root} needs {library}: pip install {library}")
    return Finding("artifacts", "ok", f"{root}; its access is tried by the first job")


def _adapters(settings: Settings) -> Iterator[Finding]:
    folder = settings.adapter_folder
    if folder is None:
        return
    if not folder.is_absolute():
        reason = f"{folder} is not an absolute path, and sampling servers look for it elsewhere"
    else:
        reason = _why_unwritable(folder)
    if reason:
        yield Finding("adapters", "fail", f"{reason}; set ATTUNE_ADAPTER_FOLDER")
    else:
        yield Finding("adapters", "ok", f"{folder}; sampling servers must see the same path")


def _base_models(settings: Settings) -> Finding:
    listed = settings.base_models
    if not listed.strip():
        return Finding(
            "base models",
            "warn",
            "none is allowed, only the starter: list them in ATTUNE_ALLOWED_BASE_MODELS, such as "
            "/models/*,Qwen/*",
        )
    if "*" in listed.split(",") and not settings.is_embedded:
        return Finding(
            "base models",
            "warn",
            "leads can load any folder that the workers can read: list the allowed ones in "
            "ATTUNE_ALLOWED_BASE_MODELS",
        )
    return Finding("base models", "ok", listed)


def _exposure(settings: Settings) -> Iterator[Finding]:
    try:
        transport.check(settings, settings.host)
    except AttuneError as error:
        yield Finding("https", "fail", str(error))
        return
    if settings.allow_plain_http and not transport.is_loopback(settings.host):
        yield Finding("https", "warn", "passwords travel in plain http (ATTUNE_ALLOW_PLAIN_HTTP)")
    if "*" in settings.trusted_proxies:
        yield Finding(
            "proxies",
            "warn",
            "anyone can forge the address that guesses are counted against: name the proxies in "
            "ATTUNE_TRUSTED_PROXIES",
        )


def _single_sign_on(settings: Settings) -> Finding:
    try:
        setup = SingleSignOn.of(settings)
    except AttuneError as error:
        return Finding("single sign-on", "fail", str(error))
    if setup is None:
        return Finding("single sign-on", "ok", "not used")
    if importlib.util.find_spec("authlib") is None:
        return Finding("single sign-on", "fail", "authlib is not installed: pip install '.[oidc]'")
    path = settings.oidc_client_secret_file
    if path is not None and path.stat().st_mode & 0o004:
        return Finding("single sign-on", "warn", f"everyone can read {path}: run chmod 600 {path}")
    if setup.creates_accounts and not setup.domains and not setup.groups:
        return Finding(
            "single sign-on",
            "warn",
            f"everyone with an account at {setup.issuer} gets one here: set "
            "ATTUNE_OIDC_ALLOWED_DOMAINS or ATTUNE_OIDC_ALLOWED_GROUPS",
        )
    return Finding(
        "single sign-on", "ok", f"{setup.issuer}; its answer is tried by the first sign-in"
    )


def _second_factors(database: Database, settings: Settings) -> Iterator[Finding]:
    """Find second factors that the secret in force does not decrypt."""
    try:
        with database.reader() as session:
            unreadable = second_factors.unreadable(session, settings.secret)
    except (SQLAlchemyError, AttuneError, OSError):
        return  # reported by the checks of the database and of the secret
    if unreadable:
        people = "1 user" if unreadable == 1 else f"{unreadable} users"
        yield Finding(
            "two-factor",
            "fail",
            f"the codes of {people} cannot be checked, because the secret has changed: set the old "
            "ATTUNE_SECRET_KEY, or run attune user reset-two-factor for them",
        )


def _backup(database: Database, settings: Settings) -> Iterator[Finding]:
    try:
        with database.reader() as session:
            newest = backups_taken.age(session, settings.backup_max_age_h)
    except SQLAlchemyError:
        return  # reported by the check of the database
    yield Finding("backup", "warn" if newest.is_old else "ok", str(newest))


def _port(settings: Settings) -> Iterator[Finding]:
    place = f"port {settings.port} on {settings.host}"
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        yield Finding(
            "port",
            "warn",
            f"{place} cannot be bound: {error.strerror or error}; unless Attune is running "
            "already, set ATTUNE_HOST and ATTUNE_PORT",
        )


def _jobs(settings: Settings) -> Finding:
    lease, beat, sweep = settings.job_lease_s, settings.job_heartbeat_s, settings.job_sweep_s
    if lease < 2 * beat:
        return Finding(
            "jobs",
            "fail",
            f"ATTUNE_JOB_LEASE_S is {lease} and ATTUNE_JOB_HEARTBEAT_S {beat}: running jobs would "
            "be taken away; a lease needs at least two heartbeats",
        )
    if sweep > lease:
        return Finding(
            "jobs",
            "warn",
            f"ATTUNE_JOB_SWEEP_S is {sweep}, longer than the lease of {lease} s: the jobs of dead "
            "workers wait for it",
        )
    return Finding("jobs", "ok", f"lease {lease} s, heartbeat {beat} s")


def _servers(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    for name, listed in (
        ("ATTUNE_COMPLETION_SERVERS", settings.completion_servers),
        ("ATTUNE_REWARD_ENDPOINTS", settings.reward_endpoints),
    ):
        for url in filter(None, (part.strip() for part in listed.split(","))):
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                yield Finding("servers", "fail", f"{name}: {url!r} is no http:// or https:// URL")
    try:
        judges = servers.allowed(settings.judge_servers)
    except AttuneError as error:
        yield Finding("servers", "fail", str(error))
        return
    for server in judges:
        if server.key_variable and not environment.get(server.key_variable):
            yield Finding(
                "servers",
                "warn",
                f"{server.key_variable}, the key of {server.url}, is not set here; workers need it",
            )


def _pages() -> Finding:
    if not TEMPLATES.is_dir() or not STATIC.is_dir():
        return Finding("pages", "fail", f"templates or static files are missing at {STATIC.parent}")
    return Finding("pages", "ok", "templates and static files are present")


def _worker() -> Finding:
    names = ("torch", "transformers", "peft")
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        return Finding("worker", "warn", f"{', '.join(missing)} missing: no worker can run here")
    return Finding("worker", "ok", "torch, transformers and peft are installed")


def _why_unwritable(folder: Path) -> str:
    """Return why a folder, or the one that it would be created in, cannot be written to."""
    existing = _existing(folder)
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written to"
    return ""


def _existing(path: Path) -> Path:
    """Return the path, or the nearest parent that exists."""
    return next(part for part in (path, *path.parents) if part.exists())


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]

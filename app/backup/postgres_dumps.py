"""Dumps of a PostgreSQL database by its own tools: `pg_dump`, `pg_restore` and `psql`.

A dump is of a snapshot that our own transaction exports, so that what we read ourselves is of the
same moment. It is loaded in one transaction, together with moving the old tables aside and with the
statements that must hold before anyone sees the new ones.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from sqlalchemy import Connection, Engine, text

from app.backup.archives import Report
from app.errors import Conflict, Invalid, Unavailable

_POLL_S: Final = 0.1
_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")
_PARAMETERS: Final = {"dbname": "PGDATABASE", "password": "PGPASSWORD", "user": "PGUSER"}
_NEWER_SETTINGS: Final = (b"SET transaction_timeout = 0;\n",)
"""What the tools of a newer PostgreSQL write and an older server does not know."""


@dataclass(frozen=True, slots=True)
class SchemaSwap:
    """How a schema is replaced: which tables are locked, and the name that it gets."""

    schema: str
    aside: str
    tables: Sequence[str]


def server_version(connection: Connection) -> int:
    """Return the major version of the server."""
    return int(connection.scalar(text("SHOW server_version_num")) or 0) // 10_000


def check_tools(server: int, *names: str) -> None:
    """Check that PostgreSQL's programs are there and at least as new as the server.

    Raises:
        Unavailable: one is missing or too old.
    """
    for name in names:
        path = shutil.which(name)
        if path is None:
            raise Unavailable(
                f"{name} is not installed: install the client programs of PostgreSQL {server} or "
                f"newer (on Debian: postgresql-client-{server})"
            )
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        found = _VERSION.search(told.stdout)
        major = int(found[1]) if found else 0
        if major < server:
            raise Unavailable(
                f"{name} is of PostgreSQL {major}, older than the server's {server}: install "
                f"postgresql-client-{server} or newer"
            )


def dump(engine: Engine, connection: Connection, schema: str, to: Path, report: Report) -> None:
    """Dump the schema as the open, repeatable-read transaction sees it.

    Raises:
        Unavailable: `pg_dump` is missing or too old, or failed.
    """
    check_tools(server_version(connection), "pg_dump")
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
    command = [
        *("pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--no-password"),
        *(f"--snapshot={snapshot}", f"--schema={_quoted(schema)}", f"--file={to}"),
    ]
    errors = to.with_name(f"{to.name}.errors")
    with errors.open("w+b") as told:
        process = subprocess.Popen(command, env=_environment(engine), stderr=told)
        try:
            _watch(process, to, report)
        finally:
            _end(process)
        told.seek(0)
        said = told.read()
    errors.unlink()
    if process.returncode != 0:
        raise Unavailable(f"pg_dump failed: {_last_line(said)}")


def load(
    engine: Engine,
    dump: Path,
    swap: SchemaSwap,
    statements: Sequence[str],
) -> None:
    """Replace a schema by a dump's, and execute statements, all in one transaction.

    Raises:
        Unavailable: a program is missing, too old or failed; nothing was changed.
        Conflict: someone holds locks on the tables; nothing was changed.
    """
    with engine.connect() as connection:
        check_tools(server_version(connection), "pg_restore", "psql")
    reading = [
        *("pg_restore", "--file=-", "--no-owner", "--no-privileges"),
        *(f"--schema={swap.schema}", str(dump)),
    ]
    writing = ["psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
    errors, more = (dump.with_name(f"{dump.name}.{name}") for name in ("restore", "psql"))
    with errors.open("w+b") as told, more.open("w+b") as said:
        source = subprocess.Popen(reading, stdout=subprocess.PIPE, stderr=told)
        target = subprocess.Popen(
            writing,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=_environment(engine),
        )
        try:
            is_whole = _pass_on(source, target, swap, statements)
        finally:
            _end(source)
            _end(target)
        told.seek(0)
        said.seek(0)
        failures = (said.read(), told.read())
    if not is_whole or target.returncode != 0:
        _refuse(*failures)


def go_back(connection: Connection, schema: str, aside: str) -> None:
    """Put a schema back that was moved aside, in place of the one that replaced it."""
    connection.execute(text(f"DROP SCHEMA {_quoted(schema)} CASCADE"))
    connection.execute(text(f"ALTER SCHEMA {_quoted(aside)} RENAME TO {_quoted(schema)}"))


def drop(connection: Connection, schema: str) -> None:
    """Remove a schema with its tables."""
    connection.execute(text(f"DROP SCHEMA {_quoted(schema)} CASCADE"))


def _pass_on(
    source: "subprocess.Popen[bytes]",
    target: "subprocess.Popen[bytes]",
    swap: SchemaSwap,
    statements: Sequence[str],
) -> bool:
    """Pass the script on; only one that is whole is committed. Returns whether it was."""
    assert source.stdout is not None
    assert target.stdin is not None
    schema, aside = _quoted(swap.schema), _quoted(swap.aside)
    head = ["BEGIN", "SET LOCAL lock_timeout = '30s'"]
    if swap.tables:
        listed = ", ".join(f"{schema}.{_quoted(table)}" for table in swap.tables)
        head.append(f"LOCK TABLE {listed} IN ACCESS EXCLUSIVE MODE")
    head += [f"ALTER SCHEMA {schema} RENAME TO {aside}", f"CREATE SCHEMA {schema}"]
    tail = [f"SET LOCAL search_path TO {schema}", *statements]
    try:
        _write(target.stdin, head)
        _copy_script(source.stdout, target.stdin)
        if source.wait() != 0:
            target.kill()  # the server rolls back what was not committed
            return False
        _write(target.stdin, [*tail, "COMMIT"])
        target.stdin.close()
    except BrokenPipeError:
        target.wait()
        return False
    return target.wait() == 0


def _copy_script(script: IO[bytes], to: IO[bytes]) -> None:
    in_head = True
    while in_head and (line := script.readline()):
        if line not in _NEWER_SETTINGS:
            to.write(line)
        in_head = not line.startswith((b"COPY ", b"CREATE "))
    shutil.copyfileobj(script, to, 1 << 20)


def _write(to: IO[bytes], statements: Sequence[str]) -> None:
    to.write("".join(f"{statement};\n" for statement in statements).encode())
    to.flush()


def _refuse(said: bytes, told: bytes) -> None:
    reason = _last_line(said if b"ERROR" in said else told or said)
    if "lock timeout" in reason or "deadlock" in reason:
        raise Conflict(f"the database is in use: {reason}; stop attune and try again")
    raise Unavailable(f"the database was not restored and is unchanged: {reason}")


def _watch(process: "subprocess.Popen[bytes]", file: Path, report: Report) -> None:
    size = 0
    while process.poll() is None:
        time.sleep(_POLL_S)
        grown = file.stat().st_size if file.exists() else 0
        report(grown - size)
        size = grown


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            _close(stream)


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        return


def _environment(engine: Engine) -> Mapping[str, str]:
    """Return an environment in which the programs reach the engine's database.

    The password is not on the command line, where other users of the machine would see it.
    """
    _, parameters = engine.dialect.create_connect_args(engine.url)
    found = {
        _PARAMETERS.get(name, f"PG{name.upper()}"): str(value)
        for name, value in parameters.items()
        if value is not None
    }
    return {**os.environ, **found}


def _quoted(name: str) -> str:
    if '"' in name or "\0" in name:
        raise Invalid(f"a schema's name must have no quotes, not {name!r}")
    return f'"{name}"'


def _last_line(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "error:" in line]
    return (errors or lines or ["no reason was given"])[-1].strip()

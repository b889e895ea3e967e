"""PostgreSQL and Redis for a proof alone, which it may stop at any moment.

PostgreSQL refuses to run as root; as root, its commands run as the user `postgres`.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from app.db import Database, schema

START_S = 60.0
SETTINGS = ["max_connections = 200", "timezone = 'UTC'"]
if sys.platform == "linux":  # after a crash, one call instead of seconds for all files
    SETTINGS += ["recovery_init_sync_method = 'syncfs'"]

_MIGRATING = threading.Lock()
"""Rows run side by side, on one server or several, and Alembic migrates one database at a time."""


class OwnPostgres:
    """A PostgreSQL cluster in a temporary folder, with `fsync` as the server has it.

    Args:
        address: where it listens.
        clients: the network that may connect besides this machine, such as 10.1.0.0/16.

    Raises:
        FileNotFoundError: PostgreSQL is not installed, or as root there is no user to run it.
    """

    def __init__(self, address: str = "127.0.0.1", clients: str = "") -> None:
        self.address = address
        self._clients = clients
        self._initdb, self._pg_ctl = _program("initdb"), _program("pg_ctl")
        self._user = _user()
        self._folder = Path()
        self.port = 0
        self.stops = 0
        self._template = ""

    def __enter__(self) -> "OwnPostgres":
        self._folder = Path(tempfile.mkdtemp(prefix="attune-proof-postgres-"))
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        try:
            self._make()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        data = self._folder / "data"
        self._run(
            self._initdb,
            *("--pgdata", str(data), "--auth", "trust", "--username", "postgres"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        self.port = free_port(self.address)
        with (data / "postgresql.conf").open("a") as settings:
            settings.writelines(f"{line}\n" for line in SETTINGS)
            settings.write(f"listen_addresses = '{self.address}'\nport = {self.port}\n")
            settings.write(f"unix_socket_directories = '{self._folder}'\n")
        if self._clients:
            with (data / "pg_hba.conf").open("a") as access:
                access.write(f"host all all {self._clients} trust\n")

    def __exit__(self, *_error: object) -> None:
        self._control("stop", "--mode", "immediate", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def server(self) -> str:
        """The server's URL, without a database."""
        return f"postgresql+psycopg://postgres@{self.address}:{self.port}"

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        log = str(self._folder / "log")
        self._control("start", "--wait", "--timeout", f"{START_S:.0f}", "--log", log)

    def crash(self) -> None:
        """Stop the server without letting it finish anything."""
        self._control("stop", "--mode", "immediate")
        self.stops += 1

    def restart_after_crash(self) -> None:
        """Stop the server at once and start it again, which recovers what was committed."""
        self.crash()
        self.start()

    @contextmanager
    def database(self) -> Iterator[str]:
        """Create a migrated database, and drop it afterwards if the server still runs."""
        with _MIGRATING:
            if not self._template:
                name = self._create("attune_template")
                template = Database(f"{self.server}/{name}")
                schema.upgrade(template.engine)
                template.dispose()
                self._template = name
        name = self._create(f"attune_{secrets.token_hex(4)}", self._template)
        try:
            yield f"{self.server}/{name}"
        finally:
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _create(self, name: str, template: str = "template1") -> str:
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _execute(self, statement: str) -> None:
        admin = create_engine(f"{self.server}/postgres", isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(statement))
        admin.dispose()

    def _control(self, *arguments: str, check: bool = True) -> None:
        data = str(self._folder / "data")
        self._run(self._pg_ctl, *arguments, "--pgdata", data, "--silent", check=check)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        # The server inherits the output, so a pipe would stay open for as long as it runs.
        with tempfile.TemporaryFile() as output:
            ended = subprocess.run(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                user=self._user,
                check=False,
            )
            if check and ended.returncode:
                output.seek(0)
                said = output.read().decode(errors="replace").strip()
                raise RuntimeError(
                    f"{program} {arguments[0]} ended with {ended.returncode}: {said}"
                )


class OwnRedis:
    """A Redis server that keeps nothing on disk.

    Raises:
        FileNotFoundError: Redis is not installed.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.address = address
        self.port = free_port(address)
        self._folder = folder
        self._program = _program("redis-server")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "OwnRedis":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """The broker's URL."""
        return f"redis://{self.address}:{self.port}/0"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        arguments: Sequence[str] = (
            *("--port", str(self.port), "--bind", self.address, "--save", "", "--appendonly", "no"),
            *("--protected-mode", "no", "--dir", str(self._folder)),
        )
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, *arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while self.ask("PING") != "+PONG":
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"redis-server did not start: see {self._folder}/redis.log")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server with everything that it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, command: str) -> str:
        """Send a command and return the first line of the reply; empty if nobody answers."""
        try:
            with socket.create_connection((self.address, self.port), timeout=2.0) as connection:
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(1024).decode().partition("\r\n")[0]
        except OSError:
            return ""


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as free:
        free.bind((address, 0))
        port: int = free.getsockname()[1]
        return port


def _program(name: str) -> str:
    """Return a program's path; distributions keep those of PostgreSQL out of the search path."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4])
    )
    known = [shutil.which(name), *(str(path) for path in reversed(versions))]
    for path in known:
        if path is not None:
            return path
    raise FileNotFoundError(f"{name} is not installed")


def _user() -> str | None:
    """Return the user that PostgreSQL has to run as; None for this process's own."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError as error:
        reason = "PostgreSQL does not run as root, and there is no user postgres"
        raise FileNotFoundError(reason) from error

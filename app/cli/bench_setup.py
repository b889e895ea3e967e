"""What benchmarks run on: a temporary database, a server with its worker, and options."""

import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import create_engine, make_url, text

from app.bench import load, process_use
from app.cli import processes
from app.errors import Invalid

START_TIMEOUT_S = 180.0  # a busy machine takes long to load the application
LOG_TAIL = 1000  # characters in an error
REST_S = 0.5
RESTING_SHARE = 0.1  # of a core


@dataclass(frozen=True, slots=True)
class BenchServer:
    """A server that runs, and the environment for further commands on its database."""

    address: tuple[str, int]
    pid: int
    folder: Path
    environment: Mapping[str, str]


@contextmanager
def postgres_database(server_url: str) -> Iterator[str]:
    """Create a temporary database on a PostgreSQL server, and drop it afterwards.

    Raises:
        Invalid: it is not a PostgreSQL server.
    """
    if make_url(server_url).get_backend_name() != "postgresql":
        raise Invalid(f"the labeling bench needs PostgreSQL, not {make_url(server_url).drivername}")
    name = f"attune_bench_{secrets.token_hex(4)}"
    admin = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@contextmanager
def sqlite_database() -> Iterator[str]:
    """Create a temporary SQLite database."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/bench.db"


@contextmanager
def server(
    url: str, workers: int, extra: Mapping[str, str] = MappingProxyType({})
) -> Iterator[BenchServer]:
    """Serve a database on a free port; `extra` are more variables of its environment."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        environment = {
            "ATTUNE_DATABASE_URL": url,
            "ATTUNE_DATABASE_URL_FILE": "",
            "ATTUNE_SECRET_KEY": secrets.token_urlsafe(48),
            "ATTUNE_SECRET_KEY_FILE": "",
            "ATTUNE_DATA_DIR": folder,
            "ATTUNE_LOG_LEVEL": "warning",
            **extra,
        }
        arguments = ["serve", "--port", str(port), "--workers", str(workers)]
        log = Path(folder) / "web.log"
        web = processes.Child("web", arguments, environment=environment, log=log)
        try:
            _wait_for(web, port, log)
            _wait_for_others(web.process.pid)
            yield BenchServer(("127.0.0.1", port), web.process.pid, Path(folder), environment)
        finally:
            web.stop()


@contextmanager
def worker(of: BenchServer) -> Iterator[int]:
    """Run a worker for the jobs of a server that need no model; yield its process id."""
    log = of.folder / "worker.log"
    arguments = ["worker", "--queues", "cpu", "--device", "cpu"]
    child = processes.Child("worker", arguments, environment=of.environment, log=log)
    try:
        yield child.process.pid
    finally:
        child.stop()


def numbers(given: str) -> list[int]:
    """Read numbers separated by commas.

    Raises:
        Invalid: they are not numbers.
    """
    try:
        return [int(part) for part in given.replace("_", "").split(",")]
    except ValueError as error:
        raise Invalid(f"numbers must be separated by commas, not {given!r}") from error


def code_revision() -> str:
    """Return the commit of this installation, if it is a checkout."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def _wait_for_others(pid: int) -> None:
    """Wait until the server's other processes have started, too.

    All share one socket. Whoever connects while only one of them has started stays with that one,
    and a core remains idle.
    """
    until = time.monotonic() + START_TIMEOUT_S
    used_s, before_s = _cpu_s(pid), -1.0
    while time.monotonic() < until and used_s - before_s > RESTING_SHARE * REST_S:
        time.sleep(REST_S)
        used_s, before_s = _cpu_s(pid), used_s


def _cpu_s(pid: int) -> float:
    return sum(map(process_use.cpu_s, process_use.descendants(pid)))


def _wait_for(web: processes.Child, port: int, log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and web.is_running:
        try:
            load.request(("127.0.0.1", port), "/livez")
        except OSError:
            time.sleep(0.1)
        else:
            return
    said = log.read_text(encoding="utf-8", errors="replace").strip()[-LOG_TAIL:]
    raise Invalid(f"the web server did not respond on port {port}: {said or 'it wrote nothing'}")

"""`bench`: measurements on this machine; other packages add their own commands to the group."""

import json
import os
import platform
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import create_engine, make_url, text

from app.bench import durability, load
from app.bench.load import Timings
from app.bench.seed import SLUG, Seeded, seed
from app.cli import processes
from app.cli.console import err, say
from app.db import Database, schema
from app.errors import Invalid

group = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine.")

SERVER = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
START_TIMEOUT_S = 60.0


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="bench")


@group.callback()
def _group() -> None:
    """Measure speed and memory on this machine."""


@group.command()
def labeling(
    json_to: Annotated[Path | None, typer.Option("--json", help="File for the results.")] = None,
    database_url: Annotated[
        str, typer.Option(help="A PostgreSQL server, on which a temporary database is created.")
    ] = SERVER,
    sizes: Annotated[str, typer.Option(help="Numbers of comparisons.")] = "10000,1000000",
    labelers: Annotated[str, typer.Option(help="Numbers of concurrent labelers.")] = "1,8,50",
    seconds: Annotated[float, typer.Option(help="Seconds measured per combination.")] = 8.0,
    warm: Annotated[float, typer.Option(help="Warm-up seconds.")] = 3.0,
    workers: Annotated[int, typer.Option(help="Web processes.")] = os.cpu_count() or 2,
) -> None:
    """Measure claims and durable submissions over HTTP; a cycle is one of each."""
    crowds = _numbers(labelers)
    figures: dict[str, float | str] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": _commit(),
        "workers": workers,
    }
    table = Table("comparisons", "labelers", "cycles/s", "next p50 / p95", "submit p50 / p95")
    for size in _numbers(sizes):
        with _database(database_url) as url:
            say(f"Creating {size:,} comparisons …")
            database = Database(url)
            schema.upgrade(database.engine)
            seeded = seed(database, size, max(crowds))
            for crowd in crowds:
                span = (warm, seconds)
                timings = _measure(database, url, seeded, crowd, span, workers)
                _note(figures, table, size, crowd, timings)
            database.dispose()
    err.print(table)
    say("Times are in milliseconds; the load generator and PostgreSQL share the cores.")
    if json_to is not None:
        json_to.write_text(json.dumps(figures, indent=1) + "\n")


def _measure(
    database: Database,
    url: str,
    seeded: Seeded,
    crowd: int,
    span: tuple[float, float],
    workers: int,
) -> Timings:
    tokens = seeded.tokens[:crowd]
    before = durability.count_stored(database)
    with _server(url, workers) as address:
        timings = load.run(address, SLUG, tokens, warm_s=span[0], measured_s=span[1])
    time.sleep(1.0)  # the database counts its flushes with a delay
    after = durability.count_stored(database)
    durability.check(before, after, acknowledged=timings.acknowledged, at_once=crowd)
    return timings


def _note(
    figures: dict[str, float | str], table: Table, size: int, crowd: int, timings: Timings
) -> None:
    next_ms, submit_ms = _milliseconds(timings.claims), _milliseconds(timings.submissions)
    key = f"c{crowd}.n{size}"
    figures |= {
        f"{key}.cycles_per_s": round(timings.cycles_per_s, 1),
        f"{key}.next_p50_ms": next_ms[0],
        f"{key}.next_p95_ms": next_ms[1],
        f"{key}.submit_p50_ms": submit_ms[0],
        f"{key}.submit_p95_ms": submit_ms[1],
        f"{key}.generator_cpu_share": round(timings.own_cpu_s / timings.wall_s, 3),
    }
    table.add_row(
        f"{size:,}",
        str(crowd),
        f"{timings.cycles_per_s:.1f}",
        f"{next_ms[0]:.1f} / {next_ms[1]:.1f}",
        f"{submit_ms[0]:.1f} / {submit_ms[1]:.1f}",
    )


def _milliseconds(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    if len(seconds) < 2:
        raise Invalid(f"only {len(seconds)} cycles were measured; increase --seconds")
    cuts = quantiles(seconds, n=20)
    return round(1000 * cuts[9], 2), round(1000 * cuts[18], 2)


@contextmanager
def _database(server_url: str) -> Iterator[str]:
    """Create a temporary database on the server, and drop it afterwards."""
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
def _server(url: str, workers: int) -> Iterator[tuple[str, int]]:
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = processes.Child(
            "web",
            ["serve", "--port", str(port), "--workers", str(workers)],
            environment={
                "ATTUNE_DATABASE_URL": url,
                "ATTUNE_SECRET_KEY": secrets.token_urlsafe(48),
                "ATTUNE_DATA_DIR": folder,
                "ATTUNE_LOG_LEVEL": "warning",
            },
            log=Path(folder) / "web.log",
        )
        try:
            _wait_for(server, port)
            yield "127.0.0.1", port
        finally:
            server.stop()


def _wait_for(server: processes.Child, port: int) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and server.is_running:
        try:
            load.request(("127.0.0.1", port), "/livez")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise Invalid(f"the web server did not respond on port {port}")


def _numbers(text_: str) -> list[int]:
    try:
        return [int(part) for part in text_.replace("_", "").split(",")]
    except ValueError as error:
        raise Invalid(f"numbers must be separated by commas, not {text_!r}") from error


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return found.stdout.strip() or "unknown"

"""`bench`: measurements on this machine; other packages add their own commands to the group."""

import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import typer
from rich.table import Table

from app.bench import data as data_bench
from app.bench import durability, judged, load
from app.bench.data import DataWork
from app.bench.load import Timings
from app.bench.seed import SLUG, Seeded, seed, settle
from app.cli import bench_setup
from app.cli.console import err, say
from app.db import Database, schema
from app.errors import Invalid

group = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine.")

REPLANNED_S = 1.0  # until every connection has planned its statements anew
SERVER = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"


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
    pace: Annotated[
        float | None,
        typer.Option(help="Cycles begun per second by all labelers together; unlimited if unset."),
    ] = None,
) -> None:
    """Measure claims and durable submissions over HTTP; a cycle is one of each."""
    crowds = bench_setup.numbers(labelers)
    if pace is not None and pace <= 0:
        raise Invalid(f"--pace must be above 0, not {pace:g}")
    figures: dict[str, float | str] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": bench_setup.code_revision(),
        "workers": workers,
    }
    table = Table("comparisons", "labelers", "cycles/s", "next p50 / p95", "submit p50 / p95")
    for size in bench_setup.numbers(sizes):
        with bench_setup.postgres_database(database_url) as url:
            say(f"Creating {size:,} comparisons …")
            database = Database(url)
            schema.upgrade(database.engine)
            seeded = seed(database, size, max(crowds))
            for crowd in crowds:
                span = (warm, seconds)
                timings = _measure(database, url, seeded, crowd, (span, pace), workers)
                _note(figures, table, size, crowd, timings)
            database.dispose()
    err.print(table)
    say("Times are in milliseconds; the load generator and PostgreSQL share the cores.")
    if json_to is not None:
        json_to.write_text(json.dumps(figures, indent=1) + "\n")


@group.command()
def data(
    json_to: Annotated[Path | None, typer.Option("--json", help="File for the results.")] = None,
    database_url: Annotated[
        str, typer.Option(help="A PostgreSQL server, or sqlite; its database is temporary.")
    ] = SERVER,
    sizes: Annotated[str, typer.Option(help="Numbers of judgments.")] = "10000,100000,1000000",
    rows: Annotated[int, typer.Option(help="Rows of each file that is imported.")] = 100_000,
    seconds: Annotated[float, typer.Option(help="Seconds of labeling per measurement.")] = 60.0,
) -> None:
    """Measure pages, figures, exports and imports of a project with very many judgments."""
    data_bench.check_rows(rows)
    figures: dict[str, float | str] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": bench_setup.code_revision(),
        "database": "sqlite" if database_url == "sqlite" else "postgresql",
    }
    for size in bench_setup.numbers(sizes):
        with (
            bench_setup.sqlite_database()
            if database_url == "sqlite"
            else bench_setup.postgres_database(database_url)
        ) as url:
            table = Table("figure", f"{size:,} judgments")
            for measured in _measure_data(url, size, rows, seconds):
                figures |= {f"n{size}.{name}": value for name, value in measured.items()}
                for name, value in measured.items():
                    table.add_row(name, f"{value:,}")
                if json_to is not None:  # kept even if a later measurement fails
                    json_to.write_text(json.dumps(figures, indent=1) + "\n")
        err.print(table)


def _measure_data(url: str, size: int, rows: int, seconds: float) -> Iterator[dict[str, float]]:
    say(f"Creating {size:,} judgments …")
    database = Database(url)
    schema.upgrade(database.engine)
    project = judged.seed(database, size)
    database.dispose()
    with bench_setup.server(url, 1) as server, bench_setup.worker(server) as worker_pid:
        work = DataWork(
            server.address, server.pid, worker_pid, project, server.folder, seconds, rows
        )
        yield from data_bench.measure(work, say)


def _measure(
    database: Database,
    url: str,
    seeded: Seeded,
    crowd: int,
    times: tuple[tuple[float, float], float | None],
    workers: int,
) -> Timings:
    (warm_s, measured_s), pace = times
    tokens = seeded.tokens[:crowd]
    before = durability.count_stored(database)
    with bench_setup.server(url, workers) as server:
        run = partial(load.run, server.address, SLUG, tokens, pace=pace)
        warm = run(warm_s=0.0, measured_s=warm_s)
        settle(database)  # as the server does within a minute of the first judgments
        timings = run(warm_s=REPLANNED_S, measured_s=measured_s)
    time.sleep(1.0)  # the database counts its flushes with a delay
    after = durability.count_stored(database)
    acknowledged = warm.acknowledged + timings.acknowledged
    durability.check(before, after, acknowledged=acknowledged, at_once=crowd)
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

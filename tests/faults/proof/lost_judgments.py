"""Acknowledged judgments that are lost while web processes and the database are killed."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.bench.seed import SLUG
from app.cli import bench_setup
from app.cli.bench_setup import BenchServer
from app.client import Client
from tests.faults.proof import job_kills, labeling_load
from tests.faults.proof.labeling_load import Desk, Labelers
from tests.faults.proof.own_servers import OwnPostgres
from tests.faults.proof.rows import Outcome, Place, beyond_none, counted, own_postgres

LABELERS = 8
WEB_PROCESSES = 2
EXPORT_S = 600.0


@dataclass
class _Killer:
    """Kills, in an order drawn from the seed, at even steps of the work that is done."""

    order: list[str]
    judgments: int
    server: BenchServer
    postgres: OwnPostgres
    draw: random.Random
    done: int = 0

    def __call__(self, acknowledged: int) -> bool:
        """Kill what is due after so many judgments; return whether all is done."""
        due = len(self.order) * acknowledged // self.judgments + 1
        while self.done < min(due, len(self.order)):
            self._kill(self.order[self.done])
            self.done += 1
        return self.done == len(self.order)

    def _kill(self, what: str) -> None:
        if what == "database":
            self.postgres.restart_after_crash()
            return
        while not (pids := job_kills.web_processes(self.server.pid)):
            time.sleep(0.05)
        with suppress(ProcessLookupError):
            os.kill(self.draw.choice(pids), signal.SIGKILL)


def measure(place: Place) -> Outcome:
    """Label, kill, and look for every acknowledged judgment in the rows and in an export."""
    scale = place.scale
    judgments = scale.count(2_000, 100_000)
    web, database = scale.count(6, 50), scale.count(3, 20)
    draw = random.Random(f"lost {scale.seed}")
    order = draw.sample(["web"] * web + ["database"] * database, web + database)
    with own_postgres() as postgres, postgres.database() as url:
        desk = labeling_load.furnish(url, judgments, LABELERS)
        with bench_setup.server(url, WEB_PROCESSES) as server:
            address = f"http://127.0.0.1:{server.address[1]}"
            killer = _Killer(order, judgments, server, postgres, draw)
            began_s = time.monotonic()
            labelers = Labelers(address, desk.tokens, scale.seed)
            with labelers.working():
                labelers.until(judgments, killer)
            took_s = time.monotonic() - began_s
            export = _export(address, desk, server, place.room("lost") / "export.jsonl")
        given = labelers.acknowledged
        lost = labeling_load.missing(url, export, given)
    return Outcome(
        f"{lost.rows} of {len(given):,} acknowledged judgments missing as rows, {lost.votes} in an "
        "export",
        f"{len(given):,} submits by {LABELERS} labelers in {took_s:.0f} s, "
        f"{counted(web, 'web process', 'web processes')} killed, "
        f"{counted(database, 'immediate stop')} of the database",
        beyond_none(max(lost.rows, lost.votes), "lost judgment"),
        {
            "acknowledged": len(given),
            "missing_rows": lost.rows,
            "missing_votes": lost.votes,
            "web_kills": web,
            "database_stops": database,
            **{f"client: {text}": count for text, count in sorted(labelers.troubles.items())},
        },
    )


def _export(address: str, desk: Desk, server: BenchServer, to: Path) -> Path:
    """Export every vote through the API and a worker's job."""
    with Client(address, desk.lead_token) as client, _working(server):
        exports = f"/projects/{SLUG}/exports"
        number = client.project(SLUG).export("rich")["number"]
        deadline = time.monotonic() + EXPORT_S
        while (export := client.get(f"{exports}/{number}"))["state"] == "queued":
            if time.monotonic() > deadline:
                raise TimeoutError(f"the export was not ready after {EXPORT_S:.0f} s")
            time.sleep(0.2)
        if export["state"] != "ready":
            raise RuntimeError(f"the export did not succeed: {export['error']}")
        client.download(f"{exports}/{number}/download", to)
    return to


@contextmanager
def _working(server: BenchServer) -> Iterator[None]:
    with bench_setup.worker(server):
        yield

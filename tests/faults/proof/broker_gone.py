"""Labeling and jobs while Redis is gone: no request fails, jobs are late, and none is lost."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from app.bench.seed import SLUG
from app.cli import bench_setup
from app.client import Client, RequestRefused
from tests.faults.proof import labeling_load
from tests.faults.proof.labeling_load import Desk
from tests.faults.proof.rows import Outcome, Place, beyond_none, own_redis

LABELERS = 4
JUDGMENTS_BEFORE = 12
EXPORT_EVERY_S = 3.0
SETTLE_S = 300.0


@dataclass
class _Exports:
    """Exports that are asked for at even intervals, each of which is a job."""

    address: str
    token: str
    numbers: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asked_for(self) -> Iterator[None]:
        """Ask for exports in the meantime."""
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _ask(self) -> None:
        path, body = f"/projects/{SLUG}/exports", {"format": "rich"}
        with Client(self.address, self.token) as client:
            while not self._over.is_set():
                try:
                    asked = client.request("POST", path, json=body, attempts=1)
                    self.numbers.append(asked.json()["number"])
                except (httpx.TransportError, RequestRefused) as error:
                    self.errors[f"{type(error).__name__}: {error}"] += 1
                self._over.wait(EXPORT_EVERY_S)

    def unfinished(self, client: Client) -> list[int]:
        """Wait until every export is ready; return those that are not in the end."""
        until = time.monotonic() + SETTLE_S
        path = f"/projects/{SLUG}/exports"
        while True:
            states = {row["number"]: row["state"] for row in client.get(path)}
            left = [number for number in self.numbers if states.get(number) != "ready"]
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.5)

    def latest_s(self, client: Client) -> float:
        """Return the longest time from asking for an export until it was ready."""
        rows = client.get(f"/projects/{SLUG}/exports")
        waits = [_moment(row["ready_at"]) - _moment(row["created_at"]) for row in rows]
        return max(wait.total_seconds() for wait in waits)


def measure(place: Place) -> Outcome:
    """Take Redis away in the middle of the load, and bring it back."""
    gone_s = place.scale.count(12, 600)
    folder = place.room("broker")
    with place.postgres.database() as url, own_redis(folder) as redis:
        extra = {"ATTUNE_BROKER_URL": redis.url}
        desk = labeling_load.furnish(url, 100 * gone_s, LABELERS)
        with bench_setup.server(url, 2, extra) as server, bench_setup.worker(server):
            address = f"http://127.0.0.1:{server.address[1]}"
            labelers = labeling_load.Labelers(address, desk.tokens, place.scale.seed, attempts=1)
            exports = _Exports(address, desk.lead_token)
            with labelers.working():
                labelers.until(JUDGMENTS_BEFORE, lambda _: True)
                with exports.asked_for():
                    time.sleep(EXPORT_EVERY_S)
                    before = len(labelers.acknowledged)
                    redis.kill()
                    time.sleep(gone_s)
                    during = len(labelers.acknowledged) - before
                    redis.start()
                    time.sleep(EXPORT_EVERY_S)
            unfinished, latest_s = _settled(address, desk, exports)
        errors = labelers.troubles.total() + exports.errors.total()
    return Outcome(
        f"{errors} errors in labeling and in asking for jobs; {len(unfinished)} of "
        f"{len(exports.numbers)} jobs lost, the latest ready after {latest_s:.0f} s",
        f"Redis killed for {gone_s} s while {LABELERS} labelers made {during:,} judgments",
        beyond_none(errors + len(unfinished), "error or lost job", "errors or lost jobs"),
        {
            "gone_s": gone_s,
            "judgments_meanwhile": during,
            "errors": errors,
            "jobs": len(exports.numbers),
            "lost": len(unfinished),
            "latest_s": round(latest_s, 1),
            **{f"error: {text}": count for text, count in labelers.troubles.items()},
            **{f"error: {text}": count for text, count in exports.errors.items()},
        },
    )


def _settled(address: str, desk: Desk, exports: _Exports) -> tuple[list[int], float]:
    with Client(address, desk.lead_token) as client:
        unfinished = exports.unfinished(client)
        return unfinished, SETTLE_S if unfinished else exports.latest_s(client)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)

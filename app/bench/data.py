"""Measures a project with very many judgments: its pages, its figures, and files in and out.

Everything is measured from outside, on a running server and a worker: what a lead waits for, how
soon figures follow the judgments and what that costs, rows per second and memory of exports and
imports, and whether labelers notice any of it.
"""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from app.bench import load, pages, process_use
from app.bench.judged import JudgedProject
from app.bench.load import Timings
from app.bench.process_use import PeakMemory
from app.bench.seed import ANSWER, SLUG
from app.client import Client, RequestRefused
from app.errors import AttuneError, Invalid
from app.services.datasets.import_jobs import IMMEDIATE_MOST_BYTES
from app.services.datasets.labelers_at_work import LATELY_S

LABELERS = 8
PROJECT = f"/projects/{SLUG}"
FIGURE_PAGES = (
    *("agreement", "labelers", "comparisons?state=low", "guidelines", "agreement/weights"),
    "leaderboard",
)
EXPORT_FORMAT = "trl-explicit-text"
WAIT_S = 3600.0
POLL_S = 0.2
BEGIN_S = 1.0
BESIDE_S = 60.0  # of labeling beside an export or import, which then goes on alone
REST_S = 3.0
RESTING_SHARE = 0.02  # of a core

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DataWork:
    """A server with a project and its worker, and how much to measure."""

    address: tuple[str, int]
    server_pid: int
    worker_pid: int
    project: JudgedProject
    folder: Path
    seconds: float  # of each measured load
    rows: int  # of each file that is imported

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://{self.address[0]}:{self.address[1]}"


@dataclass(slots=True)
class _Labeling:
    """The load of labelers, and the judgments that they have made so far."""

    work: DataWork
    acknowledged: int = 0
    ended_s: float = 0.0

    def run(self, seconds: float) -> Timings:
        """Label for some seconds."""
        tokens = self.work.project.labeler_tokens[:LABELERS]
        timings = load.run(self.work.address, SLUG, tokens, warm_s=BEGIN_S, measured_s=seconds)
        self.acknowledged += timings.acknowledged
        self.ended_s = time.monotonic()
        return timings

    def wait_until_over(self) -> None:
        """Wait until exports and imports no longer take it that people label."""
        time.sleep(max(self.ended_s + LATELY_S - time.monotonic(), 0.0))

    def run_during(self, act: Callable[[], None]) -> float:
        """Label while something else is done, a minute at most; return the p95 of claims in ms."""
        errors: list[Exception] = []

        def guarded() -> None:
            try:
                act()
            except (AttuneError, RequestRefused, httpx.HTTPError) as error:  # raised again below
                errors.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        claims: list[float] = []
        until_s = time.monotonic() + BESIDE_S
        while (thread.is_alive() and time.monotonic() < until_s) or not claims:
            claims += self.run(3.0).claims
        thread.join()
        if errors:
            raise errors[0]
        return _p95_ms(claims)


def check_rows(count: int) -> None:
    """Check that every file of so many rows is large enough to be imported by a job.

    Raises:
        Invalid: one is not; the message says how many rows are enough.
    """
    for name, rows in _FILES.items():
        size = sum(len(line) for line in _lines(rows, "alone", count))
        if size <= IMMEDIATE_MOST_BYTES:
            enough = math.ceil(count * IMMEDIATE_MOST_BYTES / max(size, 1) / 1000 + 1) * 1000
            raise Invalid(
                f"--rows {count}: a file of {name} would have {size:,} bytes, and up to "
                f"{IMMEDIATE_MOST_BYTES:,} are imported at once, which tells no rate; "
                f"take at least {enough}"
            )


def measure(work: DataWork, say: Say) -> Iterator[dict[str, float]]:
    """Measure everything; yield the figures by name, as soon as some are there."""
    labeling = _Labeling(work)
    with Client(work.url, work.project.lead_token) as client:
        say("Waiting until the figures have been computed once …")
        yield {"first_figures_s": _wait_for_figures(work)}
        say("Timing pages …")
        yield _pages(work)
        say("Labeling, and waiting for the figures …")
        yield _freshness(work, client, labeling)
        say("Exporting …")
        yield _export(work, client, labeling)
        for name, rows in _FILES.items():
            say(f"Importing {name} …")
            yield _import(work, client, labeling, name, rows)


def _wait_for_figures(work: DataWork) -> float:
    """Ask for every page with figures until none is pending; return the seconds it took."""
    started_s = time.monotonic()
    for page in FIGURE_PAGES:
        while pages.status(work.url, work.project.lead_token, f"/p/{SLUG}/{page}") == 503:
            if time.monotonic() - started_s > WAIT_S:
                raise Invalid(f"the figures of {page} were not there after {WAIT_S:.0f} seconds")
            time.sleep(POLL_S)
    return round(time.monotonic() - started_s, 1)


def _pages(work: DataWork) -> dict[str, float]:
    paths = [*pages.paths_of(SLUG), *(f"/p/{SLUG}/{page}" for page in FIGURE_PAGES)]
    timings = pages.measure(work.url, work.project.lead_token, paths)
    slowest_first = max(timings, key=lambda page: page.first_p95)
    slowest_warm = max(timings, key=lambda page: page.warm_p95)
    by_page = {f"page {page.path} p95_ms": round(page.warm_p95, 1) for page in timings}
    return {
        "pages_first_worst_ms": round(slowest_first.first_p95, 1),
        f"page {slowest_first.path} first_ms": round(slowest_first.first_p95, 1),
        "pages_warm_worst_p95_ms": round(slowest_warm.warm_p95, 1),
        **by_page,
    }


def _freshness(work: DataWork, client: Client, labeling: _Labeling) -> dict[str, float]:
    """Label, and see how soon agreement has every judgment, and what keeping it fresh has cost."""
    before_s, started_s = _refresher_cpu_s(work), time.monotonic()
    timings = labeling.run(work.seconds)
    used_s, wall_s = _refresher_cpu_s(work) - before_s, time.monotonic() - started_s
    ended_s = time.monotonic()
    wanted = work.project.judgments + labeling.acknowledged
    while client.get(f"{PROJECT}/agreement")["judgments"] < wanted:
        if time.monotonic() - ended_s > WAIT_S:
            raise Invalid(f"agreement had not counted {wanted} judgments after {WAIT_S:.0f} s")
        time.sleep(POLL_S)
    return {
        "claim_p95_ms": _p95_ms(timings.claims),
        "agreement_fresh_after_s": round(time.monotonic() - ended_s, 1),
        "refresher_core_share": round(used_s / wall_s, 3),
        "refresher_peak_mib": round(max(map(process_use.peak_mib, _refreshers(work)), default=0)),
    }


def _export(work: DataWork, client: Client, labeling: _Labeling) -> dict[str, float]:
    def export() -> tuple[_JobTime, int]:
        number = client.project(SLUG).export(EXPORT_FORMAT)["number"]
        while (export := client.get(f"{PROJECT}/exports/{number}"))["state"] == "queued":
            time.sleep(POLL_S)
        if export["state"] != "ready":
            raise Invalid(f"the export did not succeed: {export['error']}")
        return _job_time(client, export["job_id"]), export["rows"]

    labeling.wait_until_over()
    _wait_until_idle(work)
    with PeakMemory(work.worker_pid) as memory:
        time_s, rows = export()
    _wait_until_idle(work)
    return {
        "export_rows": rows,
        **_rates("export", rows, time_s),
        "export_peak_mib": round(memory.mib),
        "export_claim_p95_ms": labeling.run_during(lambda: void(export())),
    }


def _import(
    work: DataWork, client: Client, labeling: _Labeling, name: str, rows: "Rows"
) -> dict[str, float]:
    def imported(part: str) -> _JobTime:
        file = work.folder / f"{name}-{part}.jsonl"
        with file.open("w", encoding="utf-8") as opened:
            opened.writelines(_lines(rows, part, work.rows))
        result = client.import_file(PROJECT, file)
        file.unlink()
        if result["rejects"]:
            raise Invalid(f"the import of {name} rejected rows: {result['rejects'][0]}")
        return _job_time(client, result["job_id"])

    labeling.wait_until_over()
    _wait_until_idle(work)
    with PeakMemory(work.worker_pid) as memory:
        time_s = imported("alone")
    _wait_until_idle(work)
    return {
        **_rates(f"import_{name}", work.rows, time_s),
        f"import_{name}_peak_mib": round(memory.mib),
        f"import_{name}_claim_p95_ms": labeling.run_during(lambda: void(imported("beside"))),
    }


def void(_result: object) -> None:
    """Pass over a result."""


Rows = Callable[[str, int], Iterator[Mapping[str, Any]]]


def _lines(rows: Rows, part: str, count: int) -> Iterator[str]:
    return (json.dumps(row) + "\n" for row in rows(part, count))


def _prompts(part: str, count: int) -> Iterator[Mapping[str, Any]]:
    for n in range(count):
        yield {"prompt": f"Question {n} of {part}: what should I do about my order?"}


def _preferences(part: str, count: int) -> Iterator[Mapping[str, Any]]:
    for n in range(count):
        prompt = f"Which one of {part}, {n}?"
        yield {"prompt": prompt, "chosen": f"Yes {n}. {ANSWER}", "rejected": f"No {n}. {ANSWER}"}


def _completions(part: str, count: int) -> Iterator[Mapping[str, Any]]:
    for n in range(count):
        texts = [{"model": f"m{at}", "text": f"{at}: {n}. {ANSWER}"} for at in range(2)]
        yield {"prompt": f"What about {part} {n}?", "completions": texts}


_FILES: Mapping[str, Rows] = {
    "prompts": _prompts,
    "preferences": _preferences,
    "completions": _completions,
}


@dataclass(frozen=True, slots=True)
class _JobTime:
    """How long a job took, and how long it worked once its process had started, in seconds."""

    whole_s: float
    work_s: float


def _job_time(client: Client, job_id: int | None) -> _JobTime:
    if job_id is None:
        raise Invalid("the file was imported at once, without a job")
    job = client.get(f"{PROJECT}/jobs/{job_id}")
    whole = _moment(job["ended_at"]) - _moment(job["started_at"])
    return _JobTime(whole.total_seconds(), job["result"]["seconds"])


def _rates(what: str, rows: int, time_s: _JobTime) -> dict[str, float]:
    """Return the rows per second of the whole job, and of its work: small files mostly start."""
    return {
        f"{what}_rows_per_s": round(rows / time_s.whole_s),
        f"{what}_rows_per_s_once_started": round(rows / max(time_s.work_s, 0.001)),
    }


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _refreshers(work: DataWork) -> list[int]:
    return [pid for pid in process_use.descendants(work.server_pid) if _refreshes(pid)]


def _refreshes(pid: int) -> bool:
    return " figures " in f"{process_use.command(pid)} "


def _wait_until_idle(work: DataWork) -> None:
    """Wait until figures have been computed and words indexed of what came before."""
    started_s, used_s = time.monotonic(), _refresher_cpu_s(work)
    while True:
        time.sleep(REST_S)
        before_s, used_s = used_s, _refresher_cpu_s(work)
        if used_s - before_s < RESTING_SHARE * REST_S and not _is_working(work):
            return
        if time.monotonic() - started_s > WAIT_S:
            raise Invalid(f"figures or jobs were still being worked on after {WAIT_S:.0f} s")


def _is_working(work: DataWork) -> bool:
    """Return whether the worker runs a job, such as one that indexes imported words."""
    running = map(process_use.command, process_use.descendants(work.worker_pid))
    return any(" worker.runs " in f"{command} " for command in running)


def _refresher_cpu_s(work: DataWork) -> float:
    return sum(map(process_use.cpu_s, _refreshers(work)))


def _p95_ms(seconds: list[float]) -> float:
    return round(pages.percentile(tuple(1000 * second for second in seconds), 95), 1)

"""Speed rows: what `attune bench` measures on this machine, compared with the targets."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tests.faults.proof.rows import ROOT, Outcome, Place

CYCLES_LEAST, CLAIM_MS_MOST, SUBMIT_MS_MOST = 150.0, 100.0, 80.0
LABELERS, PACE = 8, 25  # cycles a second: 50 requests
ROWS_LEAST: Mapping[str, int] = {
    "export": 20_000,
    "import_prompts": 20_000,
    "import_preferences": 5_000,
    "import_completions": 5_000,
}
MIB_MOST = 150
PAGE_MS_MOST = 500.0
SECONDS_LEAST = 3
ROWS_OF_A_JOB = 20_000  # smaller files are imported at once, which tells no rate
JUDGMENTS_OF_AN_EXPORT = 400_000  # some 97,000 rows; fewer are written before its rate shows


def labeling(place: Place) -> Outcome:
    """Measure claims and submissions of eight labelers: as fast as they can, and at a pace."""
    comparisons, seconds = place.scale.count(10_000, 1_000_000), _seconds(place)
    common = ("labeling", "--sizes", str(comparisons), "--labelers", str(LABELERS))
    server = ("--database-url", f"{place.postgres.server}/postgres", "--seconds", str(seconds))
    fast = _bench(place, "fast", (*common, *server))
    paced = _bench(place, "paced", (*common, *server, "--pace", str(PACE)))
    key = f"c{LABELERS}.n{comparisons}"
    cycles = float(fast[f"{key}.cycles_per_s"])
    claim_ms = float(paced[f"{key}.next_p95_ms"])
    submit_ms = float(paced[f"{key}.submit_p95_ms"])
    return Outcome(
        f"{cycles:.0f} cycles/s; p95 of a claim {claim_ms:.0f} ms and of a submission "
        f"{submit_ms:.0f} ms at {2 * PACE} requests/s",
        f"{comparisons:,} comparisons, {LABELERS} labelers, {seconds} s each, PostgreSQL",
        _missed(
            (CYCLES_LEAST - cycles, "cycles/s too few"),
            (claim_ms - CLAIM_MS_MOST, "ms too long for a claim"),
            (submit_ms - SUBMIT_MS_MOST, "ms too long for a submission"),
        ),
        {
            "cycles_per_s": cycles,
            "claim_p95_ms": claim_ms,
            "submit_p95_ms": submit_ms,
            "generator_cpu_share": fast[f"{key}.generator_cpu_share"],
        },
    )


def files(place: Place) -> Outcome:
    """Measure rows per second and memory of an export and of three kinds of import."""
    judgments, rows = _sizes(place)
    found = _data(place)
    rates = {name: float(found[f"{name}_rows_per_s_once_started"]) for name in ROWS_LEAST}
    mib = {name: float(found[f"{name}_peak_mib"]) for name in ROWS_LEAST}
    largest = max(mib, key=lambda name: mib[name])
    said = ", ".join(f"{name.replace('_', ' of ')} {rate:,.0f}" for name, rate in rates.items())
    return Outcome(
        f"rows/s: {said}; at most {mib[largest]:.0f} MiB ({largest.replace('_', ' of ')})",
        f"{judgments:,} judgments exported, {rows:,} rows a file imported; from the moment the "
        "job's process runs",
        _missed(
            *(
                (ROWS_LEAST[name] - rate, f"rows/s too few ({name.replace('_', ' of ')})")
                for name, rate in rates.items()
            ),
            (mib[largest] - MIB_MOST, f"MiB too many ({largest.replace('_', ' of ')})"),
        ),
        {f"{name}_rows_per_s_once_started": rate for name, rate in rates.items()}
        | {f"{name}_rows_per_s": found[f"{name}_rows_per_s"] for name in ROWS_LEAST}
        | {f"{name}_peak_mib": one for name, one in mib.items()},
    )


def dashboard(place: Place) -> Outcome:
    """Measure the pages of a lead, the slowest of which counts."""
    judgments, _ = _sizes(place)
    found = _data(place)
    pages = {
        name.split()[1]: ms for name, ms in found.items() if name.startswith("page /p/bench p95")
    }
    overview_ms = pages["/p/bench"]
    worst_ms = float(found["pages_warm_worst_p95_ms"])
    return Outcome(
        f"p95 of the overview {overview_ms:.0f} ms; of a lead's slowest page {worst_ms:.0f} ms",
        f"{judgments:,} judgments, PostgreSQL",
        _missed((worst_ms - PAGE_MS_MOST, "ms too long for the slowest page")),
        {"overview_p95_ms": overview_ms, "slowest_p95_ms": worst_ms},
    )


def _sizes(place: Place) -> tuple[int, int]:
    """Return how many judgments there are, and how many rows a file has."""
    rows = max(ROWS_OF_A_JOB, place.scale.count(20_000, 1_000_000))
    judgments = max(JUDGMENTS_OF_AN_EXPORT, place.scale.count(30_000, 1_000_000))
    return judgments, rows


def _seconds(place: Place) -> int:
    """Return how long a load is measured; a percentile takes some cycles, however short."""
    return max(SECONDS_LEAST, place.scale.count(5, 30))


@cache  # two rows share what takes long
def _data(place: Place) -> Mapping[str, float]:
    judgments, rows = _sizes(place)
    seconds = _seconds(place)
    sizes = ("--sizes", str(judgments), "--rows", str(rows), "--seconds", str(seconds))
    server = ("--database-url", f"{place.postgres.server}/postgres")
    found = _bench(place, "data", ("data", *sizes, *server))
    prefix = f"n{judgments}."
    return {
        name.removeprefix(prefix): float(value)
        for name, value in found.items()
        if name.startswith(prefix)
    }


def _bench(place: Place, name: str, arguments: Sequence[str]) -> Mapping[str, float | str]:
    """Run a bench and return its figures."""
    file: Path = place.room("bench") / f"{name}.json"
    command = [sys.executable, "-m", "app.cli.main", "bench", *arguments, "--json", str(file)]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=_environment(), check=False
    )
    if ended.returncode:
        raise RuntimeError(f"attune bench {' '.join(arguments)}: {ended.stderr.strip()[-2000:]}")
    figures: Mapping[str, float | str] = json.loads(file.read_text())
    return figures


def _environment() -> dict[str, str]:
    """Return the environment without settings of the product."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ATTUNE_")}


def _missed(*excesses: tuple[float, str]) -> str:
    return "; ".join(f"{excess:,.0f} {what}" for excess, what in excesses if excess > 0)

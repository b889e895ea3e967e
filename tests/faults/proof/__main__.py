"""Measures the figures that Attune has to reach, and compares them with their targets.

    python -m tests.faults.proof [ROW …] [--long | --scale FACTOR] [--seed N] [--json FILE] [--list]

PostgreSQL and Redis are started for the proof alone; nothing else has to run. The short form takes
some minutes of a machine with two idle cores, the long form hours. The exit status is 1 if a figure
is missed or could not be measured because something failed, and 0 otherwise. A row that needs what
is not installed is passed over with the reason; with ATTUNE_TEST_REQUIRE=1 it counts as missed.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from sqlalchemy.exc import SQLAlchemyError

from app.errors import AttuneError
from tests.faults.proof.rows import ROOT, NotMeasured, Outcome, Place, Row, Scale
from tests.faults.proof.table import ROWS

FAILURES = (
    AssertionError,
    AttuneError,
    LookupError,
    OSError,
    RuntimeError,
    SQLAlchemyError,
    ValueError,
    httpx.HTTPError,
    subprocess.SubprocessError,
)
"""What a row that cannot be measured may raise; it must not keep the others from it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a row: an outcome, or the reason why there is none."""

    row: Row
    seconds: float
    outcome: Outcome | None = None
    absent: str = ""  # what is not on this machine
    failure: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target is reached; None if that could not be measured here."""
        if self.absent:
            return None
        return self.outcome is not None and not self.outcome.missed

    def lines(self) -> Iterator[str]:
        """Yield the lines that are printed."""
        mark = {True: "✓", False: "✗", None: "–"}[self.holds]
        yield f"{mark} {self.row.name}: {self.row.what} (target: {self.row.target})"
        if self.outcome is not None:
            yield f"    {self.outcome.measured}"
            yield f"    {self.outcome.scale} ({self.seconds:.0f} s)"
            if self.outcome.missed:
                yield f"    MISSED BY {self.outcome.missed}"
        elif self.absent:
            yield f"    not measured: {self.absent}"
        else:
            yield f"    FAILED after {self.seconds:.0f} s: {self.failure}"

    def json(self) -> dict[str, object]:
        """Return what is written to a file."""
        return {
            "name": self.row.name,
            "what": self.row.what,
            "target": self.row.target,
            "holds": self.holds,
            "seconds": round(self.seconds, 1),
            **({} if self.outcome is None else asdict(self.outcome)),
            **({"not_measured": self.absent} if self.absent else {}),
            **({"failure": self.failure} if self.failure else {}),
        }


def main(arguments: Sequence[str], rows: Sequence[Row] = ROWS) -> int:
    """Measure the rows that are asked for, print them, and return the exit status."""
    given = _parser(rows).parse_args(arguments)
    if given.list:
        for row in rows:
            _say(f"{row.name:<14} {row.what} (target: {row.target})")
        return 0
    scale = Scale(given.seed, given.scale, given.long)
    scale.count(1, 1)
    wanted = [row for row in rows if not given.rows or row.name in given.rows]
    about = {**_machine(), "seed": scale.seed, "scale": "long" if given.long else given.scale}
    _say(", ".join(f"{name} {value}" for name, value in about.items()))
    results = []
    with _own_environment(), tempfile.TemporaryDirectory(prefix="attune-proof-") as folder:
        for result in _measure(Place(Path(folder), scale), wanted):
            results.append(result)
            for line in result.lines():
                _say(line)
    if given.json is not None:
        report = about | {"rows": [result.json() for result in results]}
        given.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return _judge(results)


def _parser(rows: Sequence[Row]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="proof", description=(__doc__ or "").split("\n")[0])
    names = [row.name for row in rows]
    parser.add_argument("rows", nargs="*", metavar="ROW", type=_one_of(names), help="default: all")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--long", action="store_true", help="as much as the targets ask for (hours)")
    size.add_argument("--scale", type=float, default=1.0, help="multiply what the short form does")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, too")
    parser.add_argument("--list", action="store_true", help="list the rows, and measure nothing")
    return parser


class _one_of:
    """A name among those of the rows."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __call__(self, name: str) -> str:
        """Return the name, or refuse it."""
        if name not in self._names:
            listed = ", ".join(self._names)
            raise argparse.ArgumentTypeError(f"a row must be one of {listed}, not {name!r}")
        return name


def _measure(place: Place, rows: Sequence[Row]) -> Iterator[Result]:
    """Measure one after another; those that mostly wait begin at once, beside the others."""
    with place, ThreadPoolExecutor() as beside:
        waiting: dict[str, Future[Result]] = {
            row.name: beside.submit(_measured, place, row) for row in rows if row.is_idle
        }
        for row in rows:
            if not row.is_idle:
                yield _measured(place, row)
            for name in [name for name, begun in waiting.items() if begun.done()]:
                yield waiting.pop(name).result()
        for begun in waiting.values():
            yield begun.result()


def _measured(place: Place, row: Row) -> Result:
    began_s = time.monotonic()
    try:
        outcome = row.measure(place)
    except NotMeasured as error:
        return Result(row, time.monotonic() - began_s, absent=str(error))
    except FAILURES as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return Result(row, time.monotonic() - began_s, failure=said)
    return Result(row, time.monotonic() - began_s, outcome)


def _judge(results: Sequence[Result]) -> int:
    held = sum(result.holds is True for result in results)
    absent = sum(result.holds is None for result in results)
    missed = len(results) - held - absent
    _say(f"{held} of {len(results)} rows hold, {missed} do not, {absent} were not measured")
    is_required = os.environ.get("ATTUNE_TEST_REQUIRE") == "1"
    return 1 if missed or (absent and is_required) else 0


def _machine() -> dict[str, str]:
    """Describe the machine, how busy it is, and what is measured."""
    load = os.getloadavg()[0]
    return {
        "machine": f"{platform.machine()} with {os.cpu_count()} cores",
        "load": f"{load:.1f}",
        "Python": platform.python_version(),
        "commit": _commit(),
    }


def _commit() -> str:
    """Return the commit, and whether files were changed since."""
    told = [
        subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT, check=False)
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "-uno"))
    ]
    commit, changes = (one.stdout.strip() for one in told)
    return f"{commit or 'unknown'}{' with changes' if changes else ''}"


@contextmanager
def _own_environment() -> Iterator[None]:
    """Forget settings of the product: every row makes its own."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("ATTUNE_")}
    for name in kept:
        if not name.startswith("ATTUNE_TEST_"):
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started must be stopped
    sys.exit(main(sys.argv[1:]))

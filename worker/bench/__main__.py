"""`python -m worker.bench`: the measurements as a command of their own.

`attune bench learning` starts it, so that the other commands do not wait for torch to load.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worker.bench import environments, learning, rows
from worker.bench.learning import BenchOptions, Measured

STATUS_REFUSED, STATUS_DIFFERS = 1, 2


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table and write the figures; return the exit status.

    It is 1 where nothing could be measured, 2 where the two sides did not learn the same.
    """
    given = _parser().parse_args(arguments)
    err, measured = Console(stderr=True, highlight=False), []
    try:
        options = BenchOptions(
            learning.chosen(given.only), given.repeats, given.gpu, given.tiny, given.cache
        )
        for each in learning.measure(options, err.print):
            measured.append(each)
            err.print(sentence(each))
    except (ValueError, RuntimeError) as error:
        err.print(f"[red]✗[/red] {error}")
        return STATUS_REFUSED
    finally:
        if given.json is not None and measured:
            found = learning.to_json(measured, "cuda" if given.gpu else "cpu")
            given.json.write_text(json.dumps(found, indent=2) + "\n")
    out = Console(highlight=False)
    out.print(table(measured))
    for remark in remarks(measured):
        out.print(f"[dim]{remark}[/dim]")
    return 0 if all(each.line.learning.agrees for each in measured) else STATUS_DIFFERS


def sentence(each: Measured) -> str:
    """Say one line's result."""
    agrees = "agrees" if each.line.learning.agrees else "does NOT agree"
    return f"  {each.key}: {each.line.ratio:.2f} times the peer's speed; what is learned {agrees}"


def table(measured: Sequence[Measured]) -> Table:
    """Lay the lines out for people."""
    found = Table(box=None)
    for column in ("work", "unit", "ours", "peer", "ratio", "memory", "of peak", "learning"):
        found.add_column(column, no_wrap=column in ("work", "learning"))
    for each in measured:
        line = each.line
        share, peers_share = (side.flops_per_s / line.peak for side in (line.ours, line.peer))
        found.add_row(
            each.key,
            rows.unit_of(line.work),
            f"{rows.per_s(line, line.ours):.3g}",
            f"{rows.per_s(line, line.peer):.3g}",
            f"{line.ratio:.2f}",
            f"{line.memory_ratio:.2f}",
            f"{share:.0%} | {peers_share:.0%}",
            "agrees" if line.learning.agrees else "differs",
        )
    return found


def remarks(measured: Sequence[Measured]) -> list[str]:
    """Say of each line how we did the work, and where our time goes."""
    return [
        f"{each.key}: {each.line.variant.settings}; {rows.held_back_by(each.line)}"
        for each in measured
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="attune bench learning")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="sizes for tests: no figure means much")
    parser.add_argument("--cache", type=Path, default=environments.CACHE)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

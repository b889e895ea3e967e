"""`python -m worker.bench`: the measurements as a separate command.

`attune bench learning` starts it as a process, so that other commands do not have to load torch.
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
MISSING = "–"


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, write the figures and return the exit status.

    It is 1 if nothing could be measured and 2 if the sides did not learn the same.
    """
    parsed = _parser().parse_args(arguments)
    err, measured = Console(stderr=True, highlight=False), []
    try:
        options = BenchOptions(
            *(learning.chosen(parsed.only), parsed.repeats, parsed.gpu, parsed.tiny, parsed.cache),
            learning.chosen_shapes(parsed.shapes),
        )
        for result in learning.measure(options, err.print):
            measured.append(result)
            err.print(summary(result))
    except (ValueError, RuntimeError) as error:
        err.print(f"[red]✗[/red] {error}")
        return STATUS_REFUSED
    finally:
        if parsed.json is not None and measured:
            figures = learning.to_json(measured, "cuda" if parsed.gpu else "cpu")
            parsed.json.write_text(json.dumps(figures, indent=2) + "\n")
    out = Console(highlight=False)
    out.print(table(measured))
    for remark in remarks(measured):
        out.print(f"[dim]{remark}[/dim]")
    return STATUS_DIFFERS if any(result.line.differs for result in measured) else 0


def summary(result: Measured) -> str:
    """Return the result of a line as a sentence."""
    line = result.line
    if line.ratio is None:
        return (
            f"  {result.key}: {rows.per_s(line, line.ours):.3g} {rows.unit_of(line.work)}; no peer"
        )
    agrees = "does NOT agree" if line.differs else "agrees"
    return f"  {result.key}: {line.ratio:.2f} times the peer's speed; learning {agrees}"


def table(measured: Sequence[Measured]) -> Table:
    """Return the lines as a table."""
    layout = Table(box=None)
    columns = ("work", "unit", "ours", "peer", "ratio", "GiB", "memory", "of peak", "learning")
    for column in columns:
        layout.add_column(column, no_wrap=column in ("work", "learning"))
    for result in measured:
        line, peer = result.line, result.line.peer
        sides = [line.ours, *([] if peer is None else [peer])]
        layout.add_row(
            result.key,
            rows.unit_of(line.work),
            f"{rows.per_s(line, line.ours):.3g}",
            MISSING if peer is None else f"{rows.per_s(line, peer):.3g}",
            MISSING if line.ratio is None else f"{line.ratio:.2f}",
            f"{line.ours.memory_bytes / 2**30:.2f}",
            MISSING if line.memory_ratio is None else f"{line.memory_ratio:.2f}",
            " | ".join(f"{side.flops_per_s / line.peak:.0%}" for side in sides),
            MISSING if peer is None else "differs" if line.differs else "agrees",
        )
    return layout


def remarks(measured: Sequence[Measured]) -> list[str]:
    """Return how our side did the work of each line, where its time goes, and why it is alone."""
    return [
        f"{result.key}: {result.line.variant.settings}; {rows.time_breakdown(result.line)}"
        + (f"; without a peer: {result.line.why_alone}" if result.line.peer is None else "")
        for result in measured
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="attune bench learning")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--shapes", default="")
    parser.add_argument("--tiny", action="store_true", help="sizes for tests, not for figures")
    parser.add_argument("--cache", type=Path, default=environments.CACHE)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

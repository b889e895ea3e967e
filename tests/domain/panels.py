"""Coverage of every interval, and remarks, on simulated panels: a slow proof, not a test.

    python -m tests.domain.panels --panels 1000

prints for each figure how often its 95 % interval contains the value that the same labelers would
reach on very many prompts, with one, five and ten comparisons a prompt; then how often honest
labelers get a remark, and how often a contrary and a place-biased one do within sixty judgments.
`test_panels.py` runs a short form.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from app.domain.measures import Interval, Measure
from tests.domain import panel_figures, panel_remarks
from tests.domain.simulated_panels import PanelPlan

SIZES = (PanelPlan(150, 1), PanelPlan(60, 5), PanelPlan(30, 10))
LOWEST, HIGHEST = 0.93, 0.97
TRUTH_PROMPTS = 100_000

Figures = Mapping[str, Measure]
Measuring = Callable[[PanelPlan, int], Figures]


def coverage(measuring: Measuring, plan: PanelPlan, panels: int) -> dict[str, tuple[int, int]]:
    """Count by figure the intervals that cover the truth, and all intervals.

    Figures whose names differ after a colon only, such as labelers, are counted together.
    """
    many = PanelPlan(
        TRUTH_PROMPTS // plan.per_prompt, plan.per_prompt, plan.kinds, plan.overlaps, plan.ties
    )
    truth = {name: measure.value for name, measure in measuring(many, 2**31).items()}
    hits: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for seed in range(panels):
        for name, measure in measuring(plan, seed).items():
            value, interval = truth[name], measure.interval
            if isinstance(value, float) and isinstance(interval, Interval):
                counted = hits[name.partition(":")[0]]
                counted[0] += interval.low <= value <= interval.high
                counted[1] += 1
    return {name: (covered, total) for name, (covered, total) in hits.items()}


def rows(panels: int, sizes: Sequence[PanelPlan] = SIZES) -> Iterator[tuple[str, list[float]]]:
    """Yield each figure with its coverage for each size."""
    for measuring in panel_figures.ALL:
        by_size = [coverage(measuring, plan, panels) for plan in sizes]
        for name in by_size[0]:
            shares = [found[name] for found in by_size]
            yield name, [covered / total for covered, total in shares]


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Print the table and return the number of figures outside the bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--panels", type=int, default=1000)
    panels = parser.parse_args().panels
    started_at_s = time.monotonic()
    outside = 0
    _print(f"{panels} panels each, standard error {(0.95 * 0.05 / panels) ** 0.5:.3f}")
    sizes = "".join(f"{f'{plan.prompts} x {plan.per_prompt}':>10}" for plan in SIZES)
    _print(f"{'figure':<34}{sizes}   (prompts x comparisons each)")
    for name, shares in rows(panels):
        is_outside = not all(LOWEST <= share <= HIGHEST for share in shares)
        outside += is_outside
        line = "".join(f"{100 * share:>8.1f} %" for share in shares)
        _print(f"{name:<34}{line}{'  OUTSIDE' if is_outside else ''}")
    for line in panel_remarks.lines(panels):
        _print(line)
    _print(f"{time.monotonic() - started_at_s:.0f} s")
    return outside


if __name__ == "__main__":
    sys.exit(main())

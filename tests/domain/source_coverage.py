"""How often the leaderboard's intervals cover, on simulated panels: a slow proof, not a test.

    python -m tests.domain.source_coverage --panels 200

prints for each figure how often its 95 % interval contains the value of very many prompts, and how
often the range of ranks contains the true rank. It exits with the number of figures outside 93 to
97 %; ranks may be covered more often, because a range consists of whole ranks.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from app.domain import leaderboard
from app.domain.leaderboard import Leaderboard
from app.domain.measures import Interval, Measure
from tests.domain.simulated_sources import SourcePanel, simulate

LOWEST, HIGHEST = 0.93, 0.97
TRUTH_PROMPTS = 150_000
STRENGTHS = (0.6, 0.2, 0.15, -0.25, -0.7)
PANELS = {
    "150 prompts": SourcePanel(STRENGTHS, 150),
    "40 prompts, 6 pairs each": SourcePanel(STRENGTHS, 40, pairs=6),
    "150 prompts, length": SourcePanel(STRENGTHS, 150, length=0.8),
}


def covered(name: str, panels: int) -> dict[str, tuple[int, int]]:
    """Count by figure the intervals that cover the truth, and all intervals."""
    panel = PANELS[name]
    has_length = panel.length != 0
    truth = _board(replace(panel, prompts=TRUTH_PROMPTS), 2**31, length=has_length)
    values = dict(_figures(truth))
    ranks = {source.name: at for at, source in enumerate(truth.sources, 1)}
    hits: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for seed in range(panels):
        board = _board(panel, seed, length=has_length)
        for figure, measure in _figures(board):
            value, interval = values[figure].value, measure.interval
            assert isinstance(value, float)
            assert isinstance(interval, Interval)
            _count(hits, figure[0], hit=interval.low <= value <= interval.high)
        for source in board.sources:
            rank = ranks[source.name]
            _count(hits, "rank", hit=source.best_rank <= rank <= source.worst_rank)
    return {figure: (hit, total) for figure, (hit, total) in hits.items()}


def _count(hits: defaultdict[str, list[int]], figure: str, *, hit: bool) -> None:
    hits[figure][0] += hit
    hits[figure][1] += 1


def _board(panel: SourcePanel, seed: int, *, length: bool) -> Leaderboard:
    names = tuple("ABCDE"[: len(panel.strengths)])
    return leaderboard.of_votes(simulate(panel, seed), names, length_controlled=length)


def _figures(board: Leaderboard) -> Iterator[tuple[tuple[str, ...], Measure]]:
    (group,) = board.groups
    names = [source.name for source in group.sources]
    for source in group.sources:
        yield ("strength", source.name), source.strength
        yield ("win rate", source.name), source.share
    for at, name in enumerate(names):
        for place, other in enumerate(names):
            low, high, share = (table[at][place] for table in (group.low, group.high, group.share))
            if name < other and low is not None and high is not None and share is not None:
                yield ("win rate of a pair", name, other), Measure(share, Interval(low, high), 0)
    if board.is_length_controlled:
        yield ("effect of length",), group.length_effect


def main() -> int:
    """Print the coverage of every figure; return how many are outside the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--panels", type=int, default=200)
    asked = parser.parse_args()
    outside = 0
    for name in PANELS:
        for figure, (hit, total) in covered(name, asked.panels).items():
            share = hit / total
            highest = 1.0 if figure == "rank" else HIGHEST
            outside += not LOWEST <= share <= highest
            error = np.sqrt(0.05 * 0.95 / asked.panels)
            sys.stdout.write(f"{name:28} {figure:20} {100 * share:5.1f} % ± {100 * error:.1f}\n")
            sys.stdout.flush()
    return outside


if __name__ == "__main__":
    sys.exit(main())

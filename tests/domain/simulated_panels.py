"""Simulated panels as vote tables: prompts of unequal difficulty, and labelers of several kinds.

Each prompt is easy or hard for everybody, so judgments on one prompt depend on each other. The
quantities that intervals should cover are those of infinitely many prompts with the same labelers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.krippendorff import Array, Indices
from app.domain.votes import VoteTable

EASY, HARD = 0.97, 0.68  # how often an honest labeler picks the better response
LENGTH_SWAY = 0.25  # how much more often on half of the prompts, where length misleads


@dataclass(frozen=True, slots=True)
class PanelPlan:
    """A panel: `kinds` of labelers, and how often they judge what."""

    prompts: int
    per_prompt: int
    kinds: tuple[str, ...] = ("honest",) * 5
    overlaps: tuple[int, ...] = (2, 3)  # in turn, by comparison
    ties: float = 0.0


@dataclass(frozen=True, slots=True)
class Panel:
    """A table of picks, with what was shown first and which response is longer, by entry."""

    table: VoteTable
    chose_first: NDArray[np.bool_]
    chose_longer: NDArray[np.bool_]
    group: Indices  # of each comparison


def simulate(plan: PanelPlan, seed: int) -> Panel:
    """Draw a panel. Comparisons of a prompt share its difficulty and which group it is in."""
    rng = np.random.default_rng(seed)
    comparisons = plan.prompts * plan.per_prompt
    cluster = np.repeat(np.arange(plan.prompts), plan.per_prompt)
    accuracy = np.where(rng.random(plan.prompts) < 0.5, EASY, HARD)[cluster]
    better = rng.integers(0, 2, comparisons)
    # On some prompts the better response is the longer one, on others the shorter one.
    longer = np.where(
        rng.random(comparisons) < _length_odds(rng, plan)[cluster], better, 1 - better
    )
    overlap = np.resize(np.array(plan.overlaps), comparisons)
    order = np.argsort(rng.random((comparisons, len(plan.kinds))), axis=1)
    comparison, place = np.nonzero(np.arange(len(plan.kinds))[None] < overlap[:, None])
    labeler = order[comparison, place]
    first = rng.integers(0, 2, len(comparison))
    right = rng.random(len(comparison)) < accuracy[comparison]
    pick = np.where(right, better[comparison], 1 - better[comparison])
    pick = _by_kind(pick, np.array(plan.kinds)[labeler], first, rng)
    code = np.where(rng.random(len(pick)) < plan.ties, 1, 2 * (1 - pick))
    table = VoteTable(
        comparisons=tuple(range(comparisons)),
        labelers=tuple(range(len(plan.kinds))),
        unit=comparison.astype(np.int64),
        labeler=labeler.astype(np.int64),
        code=code.astype(np.int64),
        owner=np.arange(comparisons),
        cluster=cluster,
        values=np.array([-1.0, 0.0, 1.0]),
        judgments=len(comparison),
        has_rankings=False,
    )
    return Panel(table, pick == first, pick == longer[comparison], cluster % 2)


def _length_odds(rng: np.random.Generator, plan: PanelPlan) -> Array:
    return np.where(rng.random(plan.prompts) < 0.5, 0.5 + LENGTH_SWAY, 0.5 - LENGTH_SWAY / 2)


def _by_kind(
    pick: Indices, kind: NDArray[np.str_], first: Indices, rng: np.random.Generator
) -> Indices:
    """Change honest picks into those of each labeler's kind."""
    swayed = rng.random(len(pick)) < 0.6
    pick = np.where(kind == "contrary", 1 - pick, pick)
    pick = np.where((kind == "place-biased") & swayed, first, pick)
    return np.where(kind == "coin", rng.integers(0, 2, len(pick)), pick)

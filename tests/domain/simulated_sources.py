"""Simulated votes between sources, with ties, an effect of length, and prompts of their own taste.

On every prompt each source is a little better or worse than usual, so that votes on one prompt
depend on each other. What intervals should cover are the figures of infinitely many prompts.
"""

from dataclasses import dataclass

import numpy as np

from app.domain import source_strengths
from app.domain.krippendorff import Array, Indices
from app.domain.strength_draws import SourceVotes

SPREAD = 300.0  # of differences in length, in characters


@dataclass(frozen=True, slots=True)
class SourcePanel:
    """How votes come about: on each prompt, some pairs of sources, each judged several times."""

    strengths: tuple[float, ...]
    prompts: int
    pairs: int = 2
    overlap: int = 2
    tie: float = -0.5  # minus infinity: never
    length: float = 0.0
    taste: float = 0.6  # standard deviation of a source's strength over prompts


def simulate(panel: SourcePanel, seed: int) -> SourceVotes:
    """Draw the votes of a panel."""
    rng = np.random.default_rng(seed)
    k = len(panel.strengths)
    prompt = np.repeat(np.arange(panel.prompts), panel.pairs)
    first = rng.integers(0, k, len(prompt))
    second = (first + rng.integers(1, k, len(prompt))) % k
    strength = np.array(panel.strengths) + rng.normal(0, panel.taste, (panel.prompts, k))
    lengths = 1000 + rng.normal(0, SPREAD / np.sqrt(2), (panel.prompts, k)).round()
    gap = lengths[prompt, first] - lengths[prompt, second]
    d = strength[prompt, first] - strength[prompt, second]
    d = d + panel.length * source_strengths.length_terms(gap, SPREAD)
    prompt, first, second, d = (
        np.repeat(each, panel.overlap) for each in (prompt, first, second, d)
    )
    return SourceVotes(
        first,
        second,
        _outcomes(rng, d, panel.tie),
        np.ones(len(d)),
        lengths[prompt, first].astype(np.int64),
        lengths[prompt, second].astype(np.int64),
        prompt,
    )


def _outcomes(rng: np.random.Generator, d: Array, tie: float) -> Indices:
    odds = np.stack([np.exp(d / 2), np.full(len(d), np.exp(tie)), np.exp(-d / 2)], axis=1)
    limits = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)
    outcomes: Indices = (rng.random(len(d))[:, None] > limits[:, :2]).sum(axis=1)
    return outcomes

"""Comparisons with known preferences, the same for both sides of an acceptance test.

Responses are random token ids; each id has a worth, and the utility of a response is its mean. The
winner of a training pair is drawn by a logistic choice, so votes are noisy; for held-out pairs the
truth is known. Needs only torch, since peers import it in their own environments.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

VOCABULARY, FIRST_WORD_ID = 320, 16  # the first ids are special: they end or pad a text
WORDS = 32  # few enough for a small model to learn the worth of each
PROMPT_TOKENS, RESPONSE_TOKENS = 12, 20
SHARPNESS = 4.0
RANK, ALPHA = 16, 32

TokenPair = tuple[list[int], list[int], list[int]]  # prompt, chosen, rejected


@dataclass(frozen=True, slots=True)
class PreferenceCase:
    """One run: the seed of its data and order, and the settings of both sides."""

    seed: int
    train_pairs: int = 2400
    heldout_pairs: int = 2000
    batch: int = 16
    learning_rate: float = 2e-3

    @property
    def steps(self) -> int:
        """Optimizer steps of the one epoch."""
        return self.train_pairs // self.batch


def worth() -> Tensor:
    """Return the worth of each id, [V]; it is the same for all seeds."""
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(7))


def utility(ids: Sequence[int]) -> float:
    """Return the utility of a response, of standard deviation 1 over random responses."""
    return float(worth()[list(ids)].mean()) * math.sqrt(len(ids))


def train_pairs(case: PreferenceCase) -> list[TokenPair]:
    """Return pairs in training order, the winner of a noisy choice first."""
    generator = torch.Generator().manual_seed(1000 + case.seed)
    pairs = _pairs(case.train_pairs, generator)
    coins = torch.rand(len(pairs), generator=generator).tolist()
    return [_winner_first(pair, coin) for pair, coin in zip(pairs, coins, strict=True)]


def heldout_pairs(case: PreferenceCase) -> list[TokenPair]:
    """Return other pairs, the truly better response first."""
    generator = torch.Generator().manual_seed(900_000 + case.seed)
    return [_winner_first(pair, None) for pair in _pairs(case.heldout_pairs, generator)]


def accuracy(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """Return the share of pairs whose better response has the higher score."""
    correct = sum(a > b for a, b in zip(chosen, rejected, strict=True))
    return correct / len(chosen)


def _pairs(count: int, generator: torch.Generator) -> list[TokenPair]:
    width = PROMPT_TOKENS + 2 * RESPONSE_TOKENS
    drawn = torch.randint(WORDS, (count, width), generator=generator) + FIRST_WORD_ID
    middle = PROMPT_TOKENS + RESPONSE_TOKENS
    return [
        (row[:PROMPT_TOKENS], row[PROMPT_TOKENS:middle], row[middle:]) for row in drawn.tolist()
    ]


def _winner_first(pair: TokenPair, coin: float | None) -> TokenPair:
    """Put the winner first: by a logistic choice, or by the truth without a coin."""
    prompt, first, second = pair
    lead = utility(first) - utility(second)
    chance = float(lead > 0) if coin is None else 1 / (1 + 2.718281828459045 ** (-SHARPNESS * lead))
    return pair if (0.5 if coin is None else coin) < chance else (prompt, second, first)

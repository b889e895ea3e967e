"""Comparisons of known preference, the same on both sides of an acceptance: small, and learnable.

Answers are ids; each id is worth something, an answer their mean. Who wins a training pair is drawn
by chance from the difference, so that votes are noisy; of held-out pairs the truth is known. Needs
only torch: peers import it in environments of their own.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

VOCABULARY, FIRST_WORD_ID = 320, 16  # the first ids are special, and end or pad a text
WORDS = 32  # few enough for a small model to learn what each is worth
PROMPT_TOKENS, ANSWER_TOKENS = 12, 20
SHARPNESS = 4.0
CASE_FILE, MODEL_FOLDER = "case.json", "model"
RANK, ALPHA = 16, 32

TokenPair = tuple[list[int], list[int], list[int]]  # prompt, chosen, rejected


@dataclass(frozen=True, slots=True)
class PreferenceCase:
    """One run: its data's and order's seed, and the settings both sides use."""

    seed: int
    train_pairs: int = 2400
    heldout_pairs: int = 2000
    batch: int = 16
    learning_rate: float = 2e-3

    @property
    def steps(self) -> int:
        """Optimiser steps of the one epoch."""
        return self.train_pairs // self.batch


def write(case: PreferenceCase, folder: Path) -> None:
    """Write a case where `read` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CASE_FILE).write_text(json.dumps(asdict(case)))


def read(folder: Path) -> PreferenceCase:
    """Return the case written to a folder."""
    return PreferenceCase(**json.loads((folder / CASE_FILE).read_text()))


def worth() -> Tensor:
    """Return what each id is worth, [V]; the same for all seeds."""
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(7))


def utility(ids: Sequence[int]) -> float:
    """Return an answer's utility, of standard deviation 1 over random answers."""
    return float(worth()[list(ids)].mean()) * math.sqrt(len(ids))


def train_pairs(case: PreferenceCase) -> list[TokenPair]:
    """Return pairs in the order of training, the winner first, drawn by chance."""
    generator = torch.Generator().manual_seed(1000 + case.seed)
    pairs = _pairs(case.train_pairs, generator)
    coins = torch.rand(len(pairs), generator=generator).tolist()
    return [_won(pair, coin) for pair, coin in zip(pairs, coins, strict=True)]


def heldout_pairs(case: PreferenceCase) -> list[TokenPair]:
    """Return other pairs, the truly better one first."""
    generator = torch.Generator().manual_seed(900_000 + case.seed)
    return [_won(pair, None) for pair in _pairs(case.heldout_pairs, generator)]


def accuracy(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """Return the share of pairs whose better answer has the higher score."""
    right = sum(a > b for a, b in zip(chosen, rejected, strict=True))
    return right / len(chosen)


def _pairs(count: int, generator: torch.Generator) -> list[TokenPair]:
    width = PROMPT_TOKENS + 2 * ANSWER_TOKENS
    drawn = torch.randint(WORDS, (count, width), generator=generator) + FIRST_WORD_ID
    middle = PROMPT_TOKENS + ANSWER_TOKENS
    return [
        (row[:PROMPT_TOKENS], row[PROMPT_TOKENS:middle], row[middle:]) for row in drawn.tolist()
    ]


def _won(pair: TokenPair, coin: float | None) -> TokenPair:
    """Put the winner first: by a logistic choice, or by the truth where there is no coin."""
    prompt, one, other = pair
    lead = utility(one) - utility(other)
    chance = float(lead > 0) if coin is None else 1 / (1 + 2.718281828459045 ** (-SHARPNESS * lead))
    return pair if (0.5 if coin is None else coin) < chance else (prompt, other, one)

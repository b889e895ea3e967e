"""A known reward, the same for both sides of an acceptance test of policy training.

Each id has a worth, stored beside the model; the reward of a response is the sum over its ids,
divided by the square root of their number. No id ends a response. Needs only torch, since peers
import it in their own environments.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

VOCABULARY, FIRST_WORD_ID = 320, 16
PROMPT_TOKENS, RESPONSE_TOKENS = 8, 12
WORTH_FILE = "worth.json"
OUR_FOLDER, PEER_FOLDER = "ours", "peer"
RANK, ALPHA = 16, 32


@dataclass(frozen=True, slots=True)
class PolicyCase:
    """One run: its seed, and the settings of both sides."""

    seed: int
    steps: int = 24
    episodes: int = 64
    epochs: int = 4
    kl_coefficient: float = 0.1
    learning_rate: float = 3e-3
    heldout_prompts: int = 512


def write_worth(folder: Path, worth: Tensor) -> None:
    """Write the worth of each id, [V]."""
    (folder / WORTH_FILE).write_text(json.dumps(worth.tolist()))


def read_worth(folder: Path) -> Tensor:
    """Return the worth of each id, [V]."""
    return torch.tensor(json.loads((folder / WORTH_FILE).read_text()))


def prompts(case: PolicyCase, count: int, *, heldout: bool = False) -> list[list[int]]:
    """Return random prompts of equal length."""
    generator = torch.Generator().manual_seed(case.seed + (900_000 if heldout else 1000))
    drawn = torch.randint(FIRST_WORD_ID, VOCABULARY, (count, PROMPT_TOKENS), generator=generator)
    token_ids: list[list[int]] = drawn.tolist()
    return token_ids

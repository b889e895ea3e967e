"""A reward that is known exactly, the same on both sides of an acceptance of policy training.

Each id is worth something, kept beside the model, and an answer their sum over the root of their
number; no id ends an answer. Needs only torch: peers import it in environments of their own.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

VOCABULARY, FIRST_WORD_ID = 320, 16
PROMPT_TOKENS, ANSWER_TOKENS = 8, 12
CASE_FILE, WORTH_FILE, MODEL_FOLDER = "case.json", "worth.json", "model"
OUR_FOLDER, PEER_FOLDER = "ours", "peer"
RANK, ALPHA = 16, 32


@dataclass(frozen=True, slots=True)
class PolicyCase:
    """One run: its seed, and the settings both sides use."""

    seed: int
    steps: int = 24
    episodes: int = 64
    epochs: int = 4
    kl_coefficient: float = 0.1
    learning_rate: float = 3e-3
    heldout_prompts: int = 512


def write(case: PolicyCase, folder: Path) -> None:
    """Write a case where `read` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CASE_FILE).write_text(json.dumps(asdict(case)))


def read(folder: Path) -> PolicyCase:
    """Return the case written to a folder."""
    return PolicyCase(**json.loads((folder / CASE_FILE).read_text()))


def write_worth(folder: Path, worth: Tensor) -> None:
    """Write what each id is worth, [V]."""
    (folder / WORTH_FILE).write_text(json.dumps(worth.tolist()))


def read_worth(folder: Path) -> Tensor:
    """Return what each id is worth, [V]."""
    return torch.tensor(json.loads((folder / WORTH_FILE).read_text()))


def prompts(case: PolicyCase, count: int, *, heldout: bool = False) -> list[list[int]]:
    """Return random prompts, all equally long."""
    generator = torch.Generator().manual_seed(case.seed + (900_000 if heldout else 1000))
    drawn = torch.randint(FIRST_WORD_ID, VOCABULARY, (count, PROMPT_TOKENS), generator=generator)
    found: list[list[int]] = drawn.tolist()
    return found

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.worker.files import material
from tests.worker.runs.small import save_tiny_llama


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a random whole model as plain transformers saves it."""
    return save_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def sft(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an adapter over it, trained by the command."""
    root = tmp_path_factory.mktemp("sft")
    data = material.demonstrations(root / "demonstrations.jsonl")
    material.ok("train", "sft", data, "-m", base, "-o", root / "out", *material.SMALL)
    return root / "out"


@pytest.fixture(scope="session")
def reward(sft: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a reward model over the same base, trained by the command."""
    root = tmp_path_factory.mktemp("reward")
    data = material.preferences(root / "preferences.jsonl")
    material.ok(
        "train", "reward", data, "-m", sft, "-o", root / "out", *material.SMALL, "--epochs", 1
    )
    return root / "out"

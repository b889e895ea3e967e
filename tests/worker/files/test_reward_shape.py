"""A reward model over an adapter takes that adapter's shape."""

import json
from pathlib import Path

import pytest

from tests.worker.files import material
from tests.worker.files.material import SMALL, ok


@pytest.mark.parametrize("asked", ["lora.r=3", "lora.alpha=5"])
def test_a_reward_model_begins_as_the_adapter_that_it_is_trained_from(
    sft: Path, tmp_path: Path, asked: str
) -> None:
    data = material.preferences(tmp_path / "p.jsonl", 12)
    ok("train", "reward", data, "-m", sft, "-o", tmp_path / "out", *SMALL, "--set", asked)

    def shape(folder: Path) -> tuple[int, int, tuple[str, ...]]:
        config = json.loads((folder / "adapter_config.json").read_text())
        return config["r"], config["lora_alpha"], tuple(sorted(config["target_modules"]))

    assert shape(tmp_path / "out" / "model" / "reward") == shape(sft / "model")

"""Demonstrations share rows only where none can see another."""

from dataclasses import replace

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    GraniteMoeHybridConfig,
    MistralConfig,
    PretrainedConfig,
)

from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.core.layout_probe import LayoutProbe
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import miniature, models
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.sft import finetuning, packing
from worker.rlhf.sft.finetuning import SftConfig

CONFIG = SftConfig(batch_size=3, max_steps=1, lora=tiny.LORA, autocast=False)
CARELESS = LayoutProbe(is_exact=True, window=None, why="")
LEAK = 1e-3
HYBRIDS = {
    "qwen3_next": CONFIG_MAPPING["qwen3_next"](),
    "jamba": CONFIG_MAPPING["jamba"](),
    "granitemoehybrid": GraniteMoeHybridConfig(layer_types=["mamba", "attention"] * 16),
}


def roles_of(config: PretrainedConfig, *, keep_windows: bool = False) -> Roles:
    small = miniature.build(config, keep_windows=keep_windows)
    return Roles(models.adopt(small, tiny.tokenizer(), "x"))


def demonstrations() -> list[TokenizedDemonstration]:
    texts = zip(tiny.token_ids(4, 9, 3), tiny.token_ids(12, 5, 11, seed=1), strict=True)
    return [TokenizedDemonstration(prompt, response) for prompt, response in texts]


@pytest.mark.parametrize("name", HYBRIDS)
def test_demonstrations_do_not_leak_through_recurrent_states(name: str) -> None:
    roles = roles_of(HYBRIDS[name])
    rows = packing.probe(roles)
    assert not rows.is_exact
    assert "differ" in rows.why
    alone = finetuning.evaluate(roles, BASE, demonstrations(), replace(CONFIG, packing=False))
    assert finetuning.evaluate(roles, BASE, demonstrations(), CONFIG) == pytest.approx(alone)
    leaking = finetuning.evaluate(roles, BASE, demonstrations(), CONFIG, CARELESS)
    assert abs(leaking - alone) > LEAK, "nothing leaks, so nothing is tested"


@pytest.mark.parametrize("name", ["bloom", "mamba"])
def test_a_model_that_takes_no_mask_per_pair_gets_rows_of_its_own(name: str) -> None:
    rows = packing.probe(roles_of(CONFIG_MAPPING[name]()))
    assert not rows.is_exact
    assert rows.why.startswith("refused")


def test_rows_are_shared_within_the_window_and_not_beyond() -> None:
    roles = Roles(tiny.loaded())
    rows = LayoutProbe(is_exact=True, window=15, why="")
    packed, alone = (
        list(packing.micro_batches(roles, texts, rows, row_tokens=64, micro_tokens=999))
        for texts in (demonstrations()[1:], demonstrations())
    )
    assert [len(batch.sources) for batch in packed] == [1]
    assert sum(len(batch.sources) for batch in alone) == 3


def test_the_window_is_probed_though_the_probe_is_shorter() -> None:
    config = MistralConfig(sliding_window=4096)
    roles = roles_of(config, keep_windows=True)
    rows = packing.probe(roles)
    assert (rows.is_exact, rows.window) == (True, 4096)
    assert rows.why == "exact within the window of 4096 only"
    assert roles.causal.config.sliding_window == 4096


def test_a_window_that_is_read_when_the_model_is_built_limits_rows_too() -> None:
    rows = packing.probe(roles_of(CONFIG_MAPPING["gpt_neo"](), keep_windows=True))
    assert (rows.is_exact, rows.window) == (True, 256)
    assert rows.why == "tested within the window of 256 only"


@pytest.mark.parametrize(("name", "packed"), [("qwen3", 1.0), ("qwen3_next", 0.0)])
def test_each_step_says_whether_rows_were_shared(name: str, packed: float) -> None:
    roles = roles_of(CONFIG_MAPPING[name]())
    (report,) = finetuning.train(roles, demonstrations(), CONFIG, TrainingState())
    assert report.metrics["data/packed"] == packed


def test_packing_that_is_turned_off_is_not_probed() -> None:
    roles = Roles(tiny.loaded())
    rows = finetuning.rows_of(roles, replace(CONFIG, packing=False))
    assert rows is packing.NOT_PACKED
    assert torch.is_grad_enabled()

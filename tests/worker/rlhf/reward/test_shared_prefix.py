"""Shared prompts give what separate sequences give, on every architecture that the probe allows."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from tests.worker.rlhf import tiny
from worker.rlhf.core import batches
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import shared_prefix
from worker.rlhf.reward.shared_prefix import Branches, Encoder, Probe

TOLERANCE = 1e-5
SIZE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
BRANCHES = [Branches([5, 6, 7], [[8, 9], [10], [11, 12, 13]]), Branches([5], [[9, 9, 9], [10, 8]])]


def encoder_of(config: PretrainedConfig) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, attn_implementation="eager"
        ).eval()

    def encode(input_ids: Tensor, *, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        if attention_mask.ndim == 4:
            attention_mask = batches.for_attention(attention_mask, model)
        found: Tensor = model.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state
        return found

    return encode


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZE),
        Qwen2Config(**SIZE),
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2),
    ],
    ids=["llama", "qwen2", "gpt2"],
)
def test_full_attention_with_positions_shares_exactly(config: PretrainedConfig) -> None:
    found = shared_prefix.probe(encoder_of(config), config, pad_id=0)
    assert found.is_exact
    assert found.window is None


@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**SIZE, sliding_window=100),
        Gemma3TextConfig(**{**SIZE, "num_hidden_layers": 7}, head_dim=16, sliding_window=100),
    ],
    ids=["mistral", "gemma3"],
)
def test_a_sliding_window_shares_within_it_only_and_is_put_back(config: PretrainedConfig) -> None:
    found = shared_prefix.probe(encoder_of(config), config, pad_id=0)
    assert config.sliding_window == 100
    assert found.is_exact
    assert found.window == 100
    assert found.allows([Branches([1] * 50, [[2] * 50, [2] * 50])])
    assert not found.allows([Branches([1] * 50, [[2] * 51, [2]])])


def test_a_model_without_positions_is_refused_and_says_why() -> None:
    config = BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=2)
    found = shared_prefix.probe(encoder_of(config), config, pad_id=0)
    assert not found.is_exact
    assert found.why.startswith("refused")
    assert not found.allows(BRANCHES)


def test_a_model_that_ignores_the_mask_is_found_out() -> None:
    config = LlamaConfig(**SIZE)
    honest = encoder_of(config)

    def deaf(input_ids: Tensor, *, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        real = torch.ones_like(input_ids)
        return honest(input_ids, attention_mask=real, position_ids=position_ids)

    found = shared_prefix.probe(deaf, config, pad_id=0)
    assert not found.is_exact
    assert "differ" in found.why


@pytest.mark.parametrize("build", [shared_prefix.shared, shared_prefix.separate])
@pytest.mark.parametrize(("side", "width"), [("right", 0), ("left", 0), ("left", 20)])
def test_hidden_states_depend_on_no_layout_side_or_width(
    build: shared_prefix.Build, side: batches.PaddingSide, width: int
) -> None:
    roles = tiny.roles("reward")
    alone = torch.cat(
        [_hidden(roles, shared_prefix.separate([each], pad_id=0)) for each in BRANCHES]
    )
    found = _hidden(roles, build(BRANCHES, pad_id=0, pad_side=side, width=width))
    assert torch.allclose(found, alone, atol=TOLERANCE)


def test_the_padding_id_may_be_a_real_token() -> None:
    roles = tiny.roles("reward")
    one = _hidden(roles, shared_prefix.shared(BRANCHES, pad_id=0))
    other = _hidden(roles, shared_prefix.shared(BRANCHES, pad_id=9))
    assert torch.allclose(one, other, atol=TOLERANCE)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_one_completion_does_not_see_the_others(changed: int) -> None:
    roles = tiny.roles("reward")
    completions = [list(ids) for ids in BRANCHES[0].completions]
    completions[changed] = [3] * len(completions[changed])
    before = _hidden(roles, shared_prefix.shared(BRANCHES[:1], pad_id=0))
    after = _hidden(
        roles, shared_prefix.shared([replace(BRANCHES[0], completions=completions)], pad_id=0)
    )
    is_same = [torch.allclose(before[n], after[n], atol=TOLERANCE) for n in range(3)]
    assert is_same == [n != changed for n in range(3)]


def test_rows_name_completions_in_the_order_of_the_branches() -> None:
    for build in (shared_prefix.shared, shared_prefix.separate):
        layout = build(BRANCHES, pad_id=0)
        last = layout.input_ids[layout.rows, layout.columns]
        assert last.tolist() == [9, 10, 13, 9, 8]


def test_an_empty_completion_is_scored_at_the_prompts_end() -> None:
    layout = shared_prefix.shared([Branches([5, 6], [[], [7]])], pad_id=0)
    assert layout.columns.tolist() == [1, 2]


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no token to score"):
        shared_prefix.shared([Branches([], [[]])], pad_id=0)


def test_separate_rows_are_laid_out_where_the_probe_forbids_sharing() -> None:
    forbidden = Probe(is_exact=False, window=None, why="")
    assert shared_prefix.lay_out(BRANCHES, forbidden, pad_id=0).input_ids.shape[0] == 5
    allowed = Probe(is_exact=True, window=None, why="")
    assert shared_prefix.lay_out(BRANCHES, allowed, pad_id=0).input_ids.shape[0] == 2


@torch.no_grad()
def _hidden(roles: Roles, layout: shared_prefix.Layout) -> Tensor:
    with roles.role("reward"):
        hidden = roles.hidden(layout.input_ids, layout.attention_mask, layout.position_ids)
    return hidden[layout.rows, layout.columns]

"""Scores on other families of models, within their window and beyond, as one sequence at a time."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from tests.worker.rlhf import tiny
from worker.rlhf.model import models
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import scoring
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches, Probe

TOLERANCE = 1e-4
WINDOW = 24  # more than the probe's own sequences have
SIZE: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WHOLE = {
    "llama": LlamaConfig(**SIZE),
    "qwen2": Qwen2Config(**SIZE),
    "qwen3": Qwen3Config(**SIZE, head_dim=16),
    "gpt2": GPT2Config(
        vocab_size=259, n_embd=32, n_layer=2, n_head=2, n_positions=128, initializer_range=0.2
    ),
}
WINDOWED = {
    "mistral": MistralConfig(**SIZE, sliding_window=WINDOW),
    "gemma2": Gemma2Config(**SIZE, head_dim=16, sliding_window=WINDOW),
    "gemma3": Gemma3TextConfig(**SIZE, head_dim=16, sliding_window=WINDOW),
}
SHORT = [Branches([5, 6, 7, 8], [[9, 10, 11], [12] * 6]), Branches([5, 6], [[9] * 4])]
LONG = [Branches([5, 6, 7, 8] * 5, [[9, 10, 11] * 3, [12, 13] * 8]), SHORT[0]]


def reward_on(config: PretrainedConfig) -> AdapterReward:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    roles = Roles(models.adopt(model, tiny.tokenizer(), "tiny"))
    roles.add_adapter("reward", tiny.LORA)
    roles.add_head("reward", seed=0)
    return AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)


@torch.no_grad()
def one_at_a_time(reward: AdapterReward, branches: list[Branches]) -> torch.Tensor:
    """Score as the model alone would, without any mask or position of ours."""
    found = []
    for each in branches:
        for completion in each.completions:
            ids = torch.tensor([[*each.prompt_ids, *completion]])
            with reward.roles.role("reward"):
                hidden = models.trunk(reward.roles.causal)(input_ids=ids, use_cache=False)
            found.append(reward.roles.score("reward", hidden.last_hidden_state[0, -1]))
    return torch.stack(found)


@pytest.mark.parametrize("name", WHOLE)
def test_models_without_a_window_share_their_prompts_at_any_length(name: str) -> None:
    reward = reward_on(WHOLE[name])
    assert reward.probe.is_exact
    assert reward.probe.window is None
    for branches in (SHORT, LONG):
        assert reward.probe.allows(branches)
        expected = one_at_a_time(reward, branches)
        assert torch.allclose(reward.raw(branches)[0], expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", WINDOWED)
def test_models_with_a_window_share_within_it_and_not_beyond(name: str) -> None:
    reward = reward_on(WINDOWED[name])
    assert (reward.probe.is_exact, reward.probe.window) == (True, WINDOW)
    assert reward.probe.why == f"exact within the window of {WINDOW} only"
    assert reward.probe.allows(SHORT)
    assert not reward.probe.allows(LONG)
    for branches in (SHORT, LONG):
        expected = one_at_a_time(reward, branches)
        assert torch.allclose(reward.raw(branches)[0], expected, atol=TOLERANCE)
    careless = AdapterReward(
        reward.roles, ("reward",), Probe(is_exact=True, window=None, why=""), autocast=False
    )
    wrong = (careless.raw(LONG)[0] - one_at_a_time(reward, LONG)).abs().max()
    assert float(wrong) > 10 * TOLERANCE, "the window makes no difference, so nothing is tested"

"""The engine for a model is one that decodes what the model computes."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, PreTrainedModel

from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model import miniature, models
from worker.rlhf.model.roles import Roles
from worker.rlhf.sampling import cache_probe, sampling
from worker.rlhf.sampling.general_decoding import GeneralEngine, RecomputingEngine
from worker.rlhf.sampling.sampling import SamplingConfig

FP32 = 1e-4


def small(name: str, **settings: Any) -> PreTrainedModel:
    make: Any = CONFIG_MAPPING[name]
    model = miniature.build(make(**settings))
    models.prepare(model)
    return model


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("llama", "fused"),
        ("mistral", "cached"),
        ("qwen3_next", "cached"),
        ("mamba2", "cached"),
        ("falcon_h1", "cached"),
        ("rwkv", "recomputed"),
    ],
)
def test_the_fastest_engine_that_is_right_is_chosen(name: str, use: str) -> None:
    choice = cache_probe.choose(small(name))
    assert choice.use == use
    if use == "recomputed":
        assert choice.why.startswith("its cache cannot be used: ")


def test_a_model_with_fewer_heads_than_a_miniature_is_probed_too() -> None:
    few = small("llama", num_attention_heads=2, num_key_value_heads=2, hidden_size=16)
    assert cache_probe.mismatch(few, GeneralEngine) is None


def test_a_model_that_sees_later_tokens_is_refused_by_its_type() -> None:
    with pytest.raises(ValueError, match="models of type 'bert' cannot be sampled"):
        cache_probe.choose(small("bert"))


@pytest.mark.parametrize("name", ["gpt2", "mistral", "rwkv"])
def test_recomputing_is_right_for_every_causal_model(name: str) -> None:
    assert cache_probe.mismatch(small(name), RecomputingEngine) is None


class _ForgetsRows(GeneralEngine):
    """Drops rows without moving their states."""

    def keep(self, rows: Sequence[int]) -> None:
        super().keep(list(range(len(rows))))


@pytest.mark.parametrize("name", ["gpt2", "lfm2"])
def test_an_engine_that_mixes_rows_up_is_found_out(name: str) -> None:
    settings = {"layer_types": ["conv", "full_attention"] * 16} if name == "lfm2" else {}
    model = small(name, **settings)
    assert cache_probe.mismatch(model, GeneralEngine) is None
    found = cache_probe.mismatch(model, _ForgetsRows)
    assert found is not None
    assert "differ" in found


def test_a_recomputing_model_samples_from_its_own_distribution() -> None:
    roles = Roles(models.adopt(small("rwkv"), tiny.tokenizer(), "x"))
    prompts = [PromptItem(str(len(ids)), ids) for ids in tiny.token_ids(3, 8, 5)]
    config = SamplingConfig(n=2, max_new_tokens=6)
    for completion in sampling.generate(roles, prompts, config):
        prompt = next(p for p in prompts if p.key == completion.prompt_key)
        ids = torch.tensor([[*prompt.prompt_ids, *completion.token_ids]])
        with torch.no_grad():
            logits = roles.causal(input_ids=ids, use_cache=False).logits[0]
        logprobs = logits[len(prompt.prompt_ids) - 1 : -1].log_softmax(-1)
        expected = logprobs.gather(-1, torch.tensor(completion.token_ids)[:, None]).squeeze(-1)
        torch.testing.assert_close(
            torch.tensor(completion.logprobs), expected, rtol=FP32, atol=FP32
        )

from pathlib import Path

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.worker.rlhf import tiny
from worker.rlhf.core.examples import PromptItem
from worker.rlhf.model import models, precision
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.rlhf.sampling import decoding, sampling

FP32 = 1e-4


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=259, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=2)
    )


def qwen2() -> PreTrainedModel:
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=259,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.2,
        )
    )


def gemma2() -> PreTrainedModel:
    model = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=259,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            initializer_range=0.2,
            final_logit_softcapping=2.0,
        )
    )
    model.set_attn_implementation("eager")
    return model


def adopted(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None = None
) -> LoadedModel:
    return models.adopt(model, tokenizer or tiny.tokenizer(), "x")


@pytest.mark.parametrize("make", [gpt2, qwen2, gemma2])
def test_logits_of_other_families_are_their_own(make: type[PreTrainedModel]) -> None:
    torch.manual_seed(0)
    roles = Roles(adopted(make()))  # type: ignore[call-arg]
    ids = torch.tensor([tiny.token_ids(9)[0]])
    with torch.no_grad():
        own = roles.causal(input_ids=ids).logits
        torch.testing.assert_close(roles.logits(roles.hidden(ids)), own, rtol=FP32, atol=FP32)


def test_a_family_with_unknown_logits_is_refused() -> None:
    loaded = adopted(gemma2())
    loaded.model.register_forward_hook(
        lambda module, inputs, output: type(output)(logits=output.logits * 2)
    )
    with pytest.raises(
        ValueError, match="Gemma2ForCausalLM transforms its logits in an unsupported way"
    ):
        Roles(loaded)


@pytest.mark.parametrize(("make", "is_fused"), [(qwen2, True), (gpt2, False), (gemma2, False)])
def test_every_family_samples_from_its_own_distribution(
    make: type[PreTrainedModel], is_fused: bool
) -> None:
    torch.manual_seed(0)
    roles = Roles(adopted(make()))  # type: ignore[call-arg]
    roles.add_adapter("policy", tiny.LORA)
    with torch.no_grad():
        for parameter in roles.parameters_of("policy"):
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    assert decoding.can_fuse(roles.causal) == is_fused
    prompts = [PromptItem(str(len(ids)), ids) for ids in tiny.token_ids(3, 8, 5)]
    config = sampling.SamplingConfig(n=2, max_new_tokens=8)
    for completion in sampling.generate(roles, prompts, config, role="policy"):
        prompt = next(p for p in prompts if p.key == completion.prompt_key)
        ids = torch.tensor([[*prompt.prompt_ids, *completion.token_ids]])
        with roles.role("policy"), torch.no_grad():
            logits = roles.causal(input_ids=ids).logits[0, len(prompt.prompt_ids) - 1 : -1]
        expected = logits.log_softmax(-1).gather(-1, torch.tensor(completion.token_ids)[:, None])
        torch.testing.assert_close(
            torch.tensor(completion.logprobs), expected.squeeze(-1), rtol=FP32, atol=FP32
        )


def test_padding_is_never_the_end() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    loaded = adopted(qwen2(), tokenizer)
    assert loaded.pad_id == tokenizer.bos_token_id
    assert loaded.model.config.pad_token_id == loaded.pad_id
    assert loaded.pad_id not in loaded.end_ids
    assert loaded.tokenizer.pad_token_id == loaded.pad_id  # what is saved agrees


@pytest.mark.parametrize(("spare_words", "expected"), [(("pad",), 0), ((), 258)])
def test_padding_without_any_special_token_but_the_end(
    spare_words: tuple[str, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is reserved by its name, or else the last one."""
    tokenizer = tiny.tokenizer()
    tokenizer.pad_token = tokenizer.bos_token = None
    monkeypatch.setattr(models, "SPARE_WORDS", spare_words)
    assert adopted(qwen2(), tokenizer).pad_id == expected


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no EOS token"):
        adopted(qwen2(), tokenizer)


def test_dropout_is_off_in_training_mode() -> None:
    loaded = adopted(gpt2())  # its modules and its attention drop out by default
    loaded.model.train()
    ids = torch.tensor([tiny.token_ids(9)[0]])
    with torch.no_grad():
        assert torch.equal(loaded.model(ids).logits, loaded.model(ids).logits)


def test_weights_that_are_not_safetensors_are_not_read(tmp_path: Path) -> None:
    loaded = tiny.loaded()
    loaded.model.config.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    torch.save(loaded.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        models.load(tmp_path)


def test_autocast_can_be_chosen_either_way() -> None:
    for choice in (True, False):
        with models.autocast(choice):
            assert torch.is_autocast_enabled("cpu") is choice
    with models.autocast(None):
        assert torch.is_autocast_enabled("cpu") is precision.has_fast_bf16()


def test_the_output_layer_is_cast_once_for_many_chunks() -> None:
    model = tiny.loaded().model
    model.requires_grad_(False)
    rows = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = models.logits(model, rows)
        head = models.output_head(model)
        with torch.no_grad():
            model.get_output_embeddings().weight.zero_()  # type: ignore[no-untyped-call]
        assert torch.equal(models.logits(model, rows, head), expected)
        assert not torch.equal(models.logits(model, rows), expected)


@pytest.mark.parametrize(
    ("device", "fast", "expected"),
    [("cpu", True, torch.float32), ("cuda", True, torch.bfloat16), ("cuda", False, torch.float32)],
)
def test_a_base_that_is_not_trained_is_in_bf16_on_a_gpu_that_computes_in_it(
    device: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch, *, fast: bool
) -> None:
    monkeypatch.setattr(precision, "has_fast_bf16", lambda _device: fast)
    assert precision.of_frozen(device) is expected

"""QLoRA: adapters over a model in 4 bits. Runs on a CPU too, where bitsandbytes is installed."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.worker.rlhf import tiny
from worker.rlhf.core import batches, logprobs
from worker.rlhf.core.examples import PromptItem, TokenizedDemonstration
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models, saving
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.sampling import decoding, sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig

NEAR = 1e-2
SFT = SftConfig(batch_size=4, epochs=6, learning_rate=1e-2, lora=tiny.LORA, autocast=False)
DEMONSTRATIONS = [TokenizedDemonstration(*tiny.token_ids(4, 8, seed=n)) for n in range(4)]

needs_it = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = tiny.tiny_config()
    config.hidden_size, config.head_dim, config.intermediate_size = 64, 16, 128  # blocks of 64
    made = tiny.loaded(config=config)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def packed(folder: Path) -> Roles:
    return Roles(models.load(folder, four_bit=True))


def test_without_bitsandbytes_the_error_names_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"needs bitsandbytes.*pip install bitsandbytes"):
        models.load(folder, four_bit=True)
    assert not models.is_quantized(models.load(folder).model)


@needs_it
def test_adapters_learn_over_packed_weights_that_stay_as_they_are(packed: Roles) -> None:
    assert models.is_quantized(packed.causal)
    before = {name: each.clone() for name, each in packed.named_parameters_of(BASE).items()}
    reports = list(finetuning.train(packed, DEMONSTRATIONS, SFT, TrainingState()))
    assert reports[-1].metrics["loss"] < 0.8 * reports[0].metrics["loss"]
    for name, each in packed.named_parameters_of(BASE).items():
        assert torch.equal(each, before[name.replace(".base_layer", "")]), name
    kinds = {each.dtype for each in before.values()}
    assert torch.uint8 in kinds, "nothing was packed"


@needs_it
def test_samples_of_packed_weights_have_the_training_forwards_logprobs(packed: Roles) -> None:
    list(finetuning.train(packed, DEMONSTRATIONS, SFT, TrainingState()))
    assert not decoding.can_fuse(packed.causal)
    prompts = [PromptItem(f"p{n}", ids) for n, ids in enumerate(tiny.token_ids(3, 6))]
    config = SamplingConfig(n=2, max_new_tokens=8)
    for each in sampling.generate(packed, prompts, config, role="sft"):
        ids = next(prompt.prompt_ids for prompt in prompts if prompt.key == each.prompt_key)
        batch = batches.pad([(ids, each.token_ids)], packed.pad_id)
        with packed.role("sft"), torch.no_grad():
            hidden = packed.hidden(batch.input_ids, batch.attention_mask, batch.position_ids)
            expected, _ = logprobs.of_tokens(
                hidden[batch.is_before_response], packed.logits, batch.targets
            )
        torch.testing.assert_close(torch.tensor(each.logprobs), expected, rtol=NEAR, atol=NEAR)


@needs_it
def test_an_adapter_trained_over_4_bits_fits_the_whole_model(packed: Roles, tmp_path: Path) -> None:
    list(finetuning.train(packed, DEMONSTRATIONS, SFT, TrainingState()))
    saving.save_policy(packed, tmp_path / "adapter", role="sft")
    whole = Roles(models.load(packed.loaded.path))
    saving.load_policy(whole, tmp_path / "adapter", "sft")
    of_packed, of_whole, of_base = (
        finetuning.evaluate(roles, role, DEMONSTRATIONS, SFT)
        for roles, role in ((packed, "sft"), (whole, "sft"), (whole, BASE))
    )
    assert abs(of_whole - of_packed) < 0.2 * (of_base - of_packed)


@needs_it
def test_what_needs_whole_weights_is_refused(packed: Roles, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be trained in full"):
        next(finetuning.train(packed, DEMONSTRATIONS, replace(SFT, full=True), TrainingState()))
    packed.add_adapter("policy", tiny.LORA)
    with pytest.raises(ValueError, match="cannot be saved in full"):
        saving.save_policy(packed, tmp_path / "merged", merged=True)

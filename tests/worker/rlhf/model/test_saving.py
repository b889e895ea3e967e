import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.worker.rlhf import tiny
from worker.rlhf.core import batches
from worker.rlhf.core.batches import Batch
from worker.rlhf.model import models, saving
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles

MERGED = 1e-4
PEFT_READS_AN_OLD_NAME = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


@pytest.fixture
def saved(tmp_path: Path) -> Roles:
    """Roles over a base that lies in a folder."""
    made = tiny.roles("policy", "reward", "value", heads=("reward", "value"))
    made.loaded = saving.save_full(made.loaded, tmp_path / "base")
    return made


def three_texts(roles: Roles) -> Batch:
    """A padded batch whose rows hold the padding id and the end token as real tokens too."""
    ids = tiny.token_ids(4, 9, 6, 3)
    return batches.pad(
        [(ids[0], (5, 6, tiny.EOS)), (ids[1], (*ids[3], tiny.EOS)), (ids[2], (7, 0, 8))],
        roles.pad_id,
    )


def our_logits(roles: Roles, role: str, batch: Batch) -> Tensor:
    with roles.role(role), torch.no_grad():
        hidden = roles.hidden(batch.input_ids, batch.attention_mask, batch.position_ids)
        return roles.logits(hidden)[batch.is_real]


def our_scores(roles: Roles, batch: Batch) -> Tensor:
    with roles.role("reward"), torch.no_grad():
        hidden = roles.hidden(batch.input_ids, batch.attention_mask, batch.position_ids)
        rows = torch.arange(hidden.shape[0])
        return roles.score("reward", hidden[rows, batch.last_real])


@torch.no_grad()
def plain_logits(model: torch.nn.Module, batch: Batch) -> Tensor:
    found: Tensor = model(input_ids=batch.input_ids, attention_mask=batch.is_real.long()).logits
    return found[batch.is_real]


@torch.no_grad()
def plain_scores(model: torch.nn.Module, batch: Batch) -> Tensor:
    found: Tensor = model(input_ids=batch.input_ids, attention_mask=batch.is_real.long()).logits
    return found.squeeze(-1)


@PEFT_READS_AN_OLD_NAME
@pytest.mark.usefixtures("own_code")
def test_policy_adapter_is_exactly_equal_in_plain_peft(saved: Roles, tmp_path: Path) -> None:
    saving.save_policy(saved, tmp_path / "policy")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    plain = PeftModel.from_pretrained(base, str(tmp_path / "policy"))
    batch = three_texts(saved)
    assert torch.equal(plain_logits(plain, batch), our_logits(saved, "policy", batch))
    assert not torch.equal(our_logits(saved, "policy", batch), our_logits(saved, "base", batch))


@pytest.mark.usefixtures("own_code")
def test_policy_adapter_loads_in_plain_transformers(saved: Roles, tmp_path: Path) -> None:
    saving.save_policy(saved, tmp_path / "policy")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    batch = three_texts(saved)
    assert torch.equal(plain_logits(plain, batch), our_logits(saved, "policy", batch))


def test_merged_policy_is_a_whole_model(saved: Roles, tmp_path: Path) -> None:
    saving.save_policy(saved, tmp_path / "merged", merged=True)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not [name for name, _ in plain.named_parameters() if "lora" in name]
    batch = three_texts(saved)
    torch.testing.assert_close(
        plain_logits(plain, batch), our_logits(saved, "policy", batch), rtol=MERGED, atol=MERGED
    )


def test_reward_adapter_gives_the_same_scores_in_plain_transformers(
    saved: Roles, tmp_path: Path
) -> None:
    saving.save_reward(saved, tmp_path / "reward")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward", num_labels=1)
    batch = three_texts(saved)
    assert plain.config.pad_token_id not in (None, plain.config.eos_token_id)
    torch.testing.assert_close(
        plain_scores(plain, batch), our_scores(saved, batch), rtol=1e-6, atol=1e-6
    )


@PEFT_READS_AN_OLD_NAME
def test_reward_adapter_gives_the_same_scores_in_plain_peft(saved: Roles, tmp_path: Path) -> None:
    saving.save_reward(saved, tmp_path / "reward")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    plain = PeftModel.from_pretrained(base, str(tmp_path / "reward"))
    batch = three_texts(saved)
    torch.testing.assert_close(
        plain_scores(plain, batch), our_scores(saved, batch), rtol=1e-6, atol=1e-6
    )


def test_merged_reward_model_gives_the_same_scores(saved: Roles, tmp_path: Path) -> None:
    saving.save_reward(saved, tmp_path / "merged", merged=True)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged", num_labels=1)
    batch = three_texts(saved)
    torch.testing.assert_close(
        plain_scores(plain, batch), our_scores(saved, batch), rtol=MERGED, atol=MERGED
    )


def test_adapters_and_heads_come_back(saved: Roles, tmp_path: Path) -> None:
    saving.save_policy(saved, tmp_path / "policy")
    saving.save_reward(saved, tmp_path / "reward")
    again = Roles(models.load(tmp_path / "base"))
    saving.load_policy(again, tmp_path / "policy")
    saving.load_reward(again, tmp_path / "reward")
    batch = three_texts(saved)
    assert torch.equal(our_logits(again, "policy", batch), our_logits(saved, "policy", batch))
    assert torch.equal(our_scores(again, batch), our_scores(saved, batch))


def test_saving_changes_neither_the_base_nor_the_chance(saved: Roles, tmp_path: Path) -> None:
    before = {name: p.clone() for name, p in saved.causal.named_parameters()}
    chance = torch.get_rng_state()
    for merged in (False, True):
        saving.save_policy(saved, tmp_path / f"policy{merged}", merged=merged)
        saving.save_reward(saved, tmp_path / f"reward{merged}", merged=merged)
    assert torch.equal(chance, torch.get_rng_state())
    assert all(torch.equal(p, before[name]) for name, p in saved.causal.named_parameters())
    assert saved.active == "base"


def test_whole_model_leaves_adapters_out(saved: Roles, tmp_path: Path) -> None:
    saving.save_full(saved.loaded, tmp_path / "again")
    again = Roles(models.load(tmp_path / "again"))
    batch = three_texts(saved)
    assert torch.equal(our_logits(again, "base", batch), our_logits(saved, "base", batch))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_whole_model_keeps_the_precision_of_its_base_on_disk(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    made = tiny.loaded()
    made.model.to(dtype).save_pretrained(tmp_path / "base")  # type: ignore[arg-type]
    made.tokenizer.save_pretrained(tmp_path / "base")
    trained = models.load(tmp_path / "base")
    assert trained.model.dtype == torch.float32, "training computes in fp32"
    weight = trained.model.get_parameter("model.norm.weight")
    with torch.no_grad():
        weight.add_(1 / 3)
    saving.save_full(trained, tmp_path / "trained")
    stored = load_file(tmp_path / "trained" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    assert torch.equal(stored["model.norm.weight"], weight.detach().to(dtype))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "trained", dtype="auto")
    assert plain.dtype == dtype
    assert models.load(tmp_path / "trained").stored_dtype == dtype


def test_tokenizer_travels_with_every_folder(saved: Roles, tmp_path: Path) -> None:
    saving.save_policy(saved, tmp_path / "policy")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    assert tokenizer("añb")["input_ids"] == saved.loaded.tokenizer("añb")["input_ids"]


def test_a_folder_without_a_head_is_no_reward_model(saved: Roles, tmp_path: Path) -> None:
    saving.save_policy(saved, tmp_path / "policy")
    with pytest.raises(ValueError, match="is not a reward model"):
        saving.load_reward(Roles(models.load(tmp_path / "base")), tmp_path / "policy")


@pytest.mark.parametrize(
    ("name", "value"),
    [("use_rslora", True), ("alpha_pattern", {"q_proj": 8}), ("bias", "lora_only")],
)
def test_an_adapter_whose_weights_mean_something_else_is_refused(
    saved: Roles, tmp_path: Path, name: str, value: object
) -> None:
    saving.save_policy(saved, tmp_path / "policy")
    path = tmp_path / "policy" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=f"has {name} = "):
        saving.load_policy(Roles(models.load(tmp_path / "base")), tmp_path / "policy")


def test_a_role_without_adapter_cannot_be_saved(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'policy' has no adapter"):
        saving.save_policy(Roles(loaded), tmp_path)

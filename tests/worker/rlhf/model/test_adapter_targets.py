"""Adapters are on the layers that a text passes through, and on nothing else."""

import pytest
import torch
from transformers import CONFIG_MAPPING

from tests.worker.rlhf import tiny
from worker.rlhf.model import adapter_keys, adapter_targets, lora_kernel, miniature, models
from worker.rlhf.model.roles import Roles


def targets(name: str) -> tuple[str, ...]:
    model = miniature.build(CONFIG_MAPPING[name]())
    models.prepare(model)
    return adapter_targets.all_linear(model)


def test_parts_for_images_are_left_out() -> None:
    found = targets("gemma3")
    assert found
    assert all("vision" not in name and "projector" not in name for name in found)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("jamba", "dt_proj"),  # its weight is read without a call
        ("phimoe", "router"),  # a linear layer that returns three tensors
        ("deepseek_v3", "down_proj"),  # PEFT would take it for the experts'
        ("mamba2", "out_proj"),  # PEFT refuses it
        ("llama", "lm_head"),
    ],
)
def test_layers_that_an_adapter_does_not_reach_are_left_out(name: str, left_out: str) -> None:
    found = targets(name)
    assert found
    assert left_out not in adapter_targets.leaves(found)


def test_targets_are_the_same_once_adapters_are_on_them() -> None:
    roles = Roles(tiny.loaded())
    before = adapter_targets.all_linear(roles.causal)
    roles.add_adapter("policy", tiny.LORA)
    assert adapter_targets.all_linear(roles.causal) == before
    assert len(before) == 2 * 7


def test_a_layer_that_is_called_like_a_role_belongs_to_no_role() -> None:
    roles = Roles(models.adopt(miniature.build(CONFIG_MAPPING["rwkv"]()), tiny.tokenizer(), "rwkv"))
    roles.add_adapter("policy", tiny.LORA)
    roles.add_adapter("value", tiny.LORA, init_from="policy")
    assert all(
        ".lora_A.value." in k or ".lora_B.value." in k for k in roles.named_parameters_of("value")
    )
    assert len(roles.parameters_of("value")) == len(roles.parameters_of("policy"))


def test_keys_name_their_adapter_behind_the_mark_alone() -> None:
    key = "blocks.0.value.lora_A.policy.weight"
    assert adapter_keys.owner(key) == "policy"
    assert adapter_keys.with_owner(key, "value") == "blocks.0.value.lora_A.value.weight"
    assert adapter_keys.with_owner(key, None) == "blocks.0.value.lora_A.weight"
    assert adapter_keys.owner("blocks.0.value.weight") is None


def test_outputs_of_our_kernel_may_be_changed_in_place() -> None:
    roles = Roles(tiny.loaded())
    roles.add_adapter("policy", tiny.LORA)
    assert lora_kernel.install(roles.causal) == 14
    layer = roles.causal.get_submodule("model.layers.0.mlp.up_proj")
    with roles.role("policy"):
        output = layer(torch.randn(2, 3, 32))
        output += 1.0
        output.sum().backward()
    assert any(p.grad is not None for p in roles.parameters_of("policy"))

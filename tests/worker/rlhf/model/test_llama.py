import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.worker.rlhf import tiny
from worker.rlhf.core import batches
from worker.rlhf.model import llama, lora_kernel, models
from worker.rlhf.model.models import adopt
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import shared_prefix

FP32 = 2e-5
BF16 = 5e-2
PAIRS = list(zip(tiny.token_ids(5, 9, 3), tiny.token_ids(4, 2, 7, seed=1), strict=True))


def qwen() -> Roles:
    config = Qwen2Config(
        **{  # the projections of this family have biases
            name: getattr(tiny.tiny_config(), name)
            for name in (
                "vocab_size",
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "num_key_value_heads",
                "initializer_range",
            )
        }
    )
    model = Qwen2ForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    roles = Roles(adopt(model, tiny.tokenizer(), "qwen"))
    roles.add_adapter("policy", tiny.LORA)
    with torch.no_grad():
        for parameter in roles.parameters_of("policy"):
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return roles


@pytest.fixture(params=["llama", "qwen"])
def family(request: pytest.FixtureRequest) -> Roles:
    return tiny.roles("policy") if request.param == "llama" else qwen()


def outcome(
    roles: Roles,
    role: str,
    layout: tuple[Tensor, Tensor, Tensor],
    where: Tensor,
    *,
    bf16: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return hidden states, and gradients of a weighted sum of them."""
    parameters = {} if role == "base" else roles.named_parameters_of(role)
    with roles.role(role), models.autocast(bf16, "cpu"):
        hidden = roles.hidden(*layout, where=where)
    if parameters:
        weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3))
        torch.autograd.backward((hidden.float() * weights).sum())
    found = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    for parameter in parameters.values():
        parameter.grad = None
    return hidden.detach().float(), found


def layouts(pad_id: int) -> dict[str, tuple[tuple[Tensor, Tensor, Tensor], Tensor]]:
    found: dict[str, tuple[tuple[Tensor, Tensor, Tensor], Tensor]] = {}
    for name, batch in {
        "right": batches.pad(PAIRS, pad_id),
        "left": batches.pad(PAIRS, pad_id, side="left"),
        "packed": batches.pack(PAIRS, pad_id, 20),
    }.items():
        inputs = (batch.input_ids, batch.attention_mask, batch.position_ids)
        found[name] = (inputs, batch.is_before_response)
    branches = [shared_prefix.Branches(PAIRS[0][0], [PAIRS[0][1], PAIRS[1][1]])]
    shared = shared_prefix.shared(
        [*branches, shared_prefix.Branches(PAIRS[1][0], [PAIRS[2][1]])], pad_id=pad_id
    )
    where = torch.zeros_like(shared.input_ids, dtype=torch.bool)
    where[shared.rows, shared.columns] = True
    found["shared"] = ((shared.input_ids, shared.attention_mask, shared.position_ids), where)
    return found


@pytest.mark.parametrize("layout", ["right", "left", "packed", "shared"])
@pytest.mark.parametrize("role", ["policy", "base"])
def test_states_and_gradients_are_those_of_the_models_own_code(
    family: Roles, layout: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, where = layouts(family.pad_id)[layout]
    assert llama.supports(family.causal)
    found, gradients = outcome(family, role, inputs, where)
    monkeypatch.setattr(llama, "supports", lambda _: False)
    expected, wanted = outcome(family, role, inputs, where)
    torch.testing.assert_close(found, expected, rtol=FP32, atol=FP32)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=FP32, msg=name)


def test_states_under_autocast_are_those_of_the_models_own_code_within_its_rounding(
    family: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, where = layouts(family.pad_id)["right"]
    lora_kernel.install(family.causal)
    found, gradients = outcome(family, "policy", inputs, where, bf16=True)
    monkeypatch.setattr(llama, "supports", lambda _: False)
    expected, wanted = outcome(family, "policy", inputs, where, bf16=True)
    torch.testing.assert_close(found, expected, rtol=BF16, atol=BF16)
    for name, gradient in gradients.items():
        scale = float(wanted[name].abs().max())
        torch.testing.assert_close(gradient, wanted[name], rtol=0.0, atol=BF16 * scale, msg=name)


def test_selected_positions_equal_those_of_all_positions(family: Roles) -> None:
    inputs, where = layouts(family.pad_id)["right"]
    with family.role("policy"):
        full, selected = family.hidden(*inputs), family.hidden(*inputs, where=where)
    torch.testing.assert_close(full[where], selected, rtol=FP32, atol=FP32)


def test_gradients_in_double_precision_are_exact() -> None:
    roles = tiny.roles("policy")
    roles.causal.double()
    roles.causal.base_model.norm = torch.nn.Identity()  # the library's rounds to fp32
    inputs, where = layouts(roles.pad_id)["right"]
    shape = (int(where.sum()), roles.causal.config.hidden_size)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    parameters = roles.parameters_of("policy")

    def total() -> Tensor:
        with roles.role("policy"):
            return (roles.hidden(*inputs, where=where) * weights).sum()

    torch.autograd.backward(total())
    generator = torch.Generator().manual_seed(0)
    for parameter in parameters[:14]:  # a layer's, each checked along a random direction
        assert parameter.grad is not None
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.double)
        with torch.no_grad():
            parameter.add_(direction, alpha=1e-6)
            above = total()
            parameter.add_(direction, alpha=-2e-6)
            below = total()
            parameter.add_(direction, alpha=1e-6)
        slope = float(above - below) / 2e-6
        assert float((parameter.grad * direction).sum()) == pytest.approx(slope, rel=1e-5)


def test_a_trained_base_and_checkpointed_gradients_keep_the_models_own_code() -> None:
    roles = tiny.roles("policy")
    roles.checkpoint_gradients(True)
    assert not llama.supports(roles.causal)
    roles.checkpoint_gradients(False)
    assert llama.supports(roles.causal)
    roles.causal.requires_grad_(True)
    assert not llama.supports(roles.causal)


def test_a_layer_without_the_adapter_keeps_the_models_own_code() -> None:
    roles = Roles(tiny.loaded())
    roles.add_adapter("policy", type(tiny.LORA)(r=4, alpha=8, targets=("q_proj", "v_proj")))
    with roles.role("policy"):
        assert not llama.supports(roles.causal)

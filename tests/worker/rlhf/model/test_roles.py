from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import tiny
from worker.rlhf.core import batches
from worker.rlhf.core.batches import Batch
from worker.rlhf.model import llama
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, LoraSettings, Roles

FP32 = 1e-5


@pytest.fixture
def batch() -> Batch:
    ids = tiny.token_ids(4, 7, 5)
    return batches.pad([(ids[0], ids[1]), (ids[2], ids[0]), (ids[1], ids[2])], pad_id=0)


def hidden(roles: Roles, batch: Batch) -> Tensor:
    return roles.hidden(batch.input_ids, batch.attention_mask, batch.position_ids)


def under(roles: Roles, role: str, batch: Batch) -> Tensor:
    with roles.role(role), torch.no_grad():
        return hidden(roles, batch)[batch.is_real]


def reached(roles: Roles, role: str) -> bool:
    return all(p.grad is not None for p in roles.parameters_of(role))


def test_roles_differ_and_the_role_before_comes_back(roles: Roles, batch: Batch) -> None:
    policy, value, base = (under(roles, name, batch) for name in ("policy", "value", "base"))
    assert not torch.allclose(policy, value)
    assert not torch.allclose(policy, base)
    with roles.role("policy"):
        with roles.role("value"):
            assert roles.active == "value"
        assert roles.active == "policy"
        assert torch.equal(hidden(roles, batch)[batch.is_real], policy)
    assert roles.active == BASE
    assert torch.equal(under(roles, "base", batch), base)


def test_reference_is_the_base_or_the_sft_adapter(roles: Roles, batch: Batch) -> None:
    assert torch.equal(under(roles, "reference", batch), under(roles, "base", batch))
    tuned = tiny.roles("policy", "sft")
    assert torch.equal(under(tuned, "reference", batch), under(tuned, "sft", batch))
    assert not torch.equal(under(tuned, "reference", batch), under(tuned, "base", batch))


def test_fresh_adapter_changes_nothing_yet_and_a_copy_is_exact(batch: Batch) -> None:
    roles = tiny.roles("sft")
    roles.add_adapter("fresh", tiny.LORA)
    roles.add_adapter("policy", tiny.LORA, init_from="sft")
    assert torch.equal(under(roles, "fresh", batch), under(roles, "base", batch))
    assert torch.equal(under(roles, "policy", batch), under(roles, "sft", batch))
    with torch.no_grad():
        roles.parameters_of("policy")[0].add_(1.0)
    assert not torch.equal(under(roles, "policy", batch), under(roles, "sft", batch))


def test_role_copy_takes_the_head_along(roles: Roles, batch: Batch) -> None:
    roles.copy_role("reward", "value")
    assert torch.equal(under(roles, "value", batch), under(roles, "reward", batch))
    assert torch.equal(roles.head("value").weight, roles.head("reward").weight)


def test_joint_backward_after_a_switch_reaches_both_roles(roles: Roles, batch: Batch) -> None:
    with roles.role("policy"):
        policy = hidden(roles, batch).sum()
    with roles.role("value"):
        value = roles.score("value", hidden(roles, batch)).sum()
    (policy + value).backward()  # type: ignore[no-untyped-call]
    assert reached(roles, "policy")
    assert reached(roles, "value")
    assert not any(p.grad is not None for p in roles.parameters_of("reward"))
    assert not any(p.grad is not None for p in roles.parameters_of(BASE))


def test_gradients_are_the_same_with_checkpoints(batch: Batch) -> None:
    found: list[list[Tensor]] = []
    for checkpointed in (False, True):
        roles = tiny.roles("policy", "value", heads=("value",))
        roles.checkpoint_gradients(checkpointed)
        for name in ("policy", "value"):
            with roles.role(name):
                loss = hidden(roles, batch)[batch.is_real].square().mean()
                loss.backward()  # type: ignore[no-untyped-call]
        adapters = [*roles.parameters_of("policy"), *roles.parameters_of("value")[:-1]]
        found.append([p.grad for p in adapters if p.grad is not None])
        assert len(found[-1]) == len(adapters)
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, rtol=FP32, atol=FP32)


def test_switch_is_refused_while_a_checkpointed_forward_waits(roles: Roles, batch: Batch) -> None:
    roles.checkpoint_gradients(True)
    with roles.role("policy"):
        loss = hidden(roles, batch).sum()
        with pytest.raises(RuntimeError, match="'policy' to 'value'"), roles.role("value"):
            pass
        loss.backward()  # type: ignore[no-untyped-call]
        with roles.role("value"):
            pass
    assert reached(roles, "policy")


def test_leaving_a_role_is_refused_too_unless_the_graph_is_gone(roles: Roles, batch: Batch) -> None:
    roles.checkpoint_gradients(True)
    with roles.role("policy"):
        hidden(roles, batch).sum()  # nothing holds the graph
    with pytest.raises(RuntimeError, match="'policy' to 'base'"), roles.role("policy"):
        kept = hidden(roles, batch).sum()
    assert kept.requires_grad


def test_an_error_inside_a_role_still_leaves_it(roles: Roles, batch: Batch) -> None:
    roles.checkpoint_gradients(True)
    kept: list[Tensor] = []

    def fail() -> None:
        with roles.role("policy"):
            kept.append(hidden(roles, batch).sum())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert kept
    assert roles.active == BASE


def test_training_mode_drops_nothing_out(batch: Batch) -> None:
    config = tiny.tiny_config()
    config.attention_dropout = 0.5
    roles = Roles(tiny.loaded(config=config))
    roles.add_adapter("policy", tiny.LORA)
    roles.causal.train()
    assert torch.equal(under(roles, "policy", batch), under(roles, "policy", batch))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("width", [12, 20])
def test_hidden_states_do_not_depend_on_padding(
    roles: Roles, side: batches.PaddingSide, width: int
) -> None:
    ids = tiny.token_ids(4, 7, 5)
    sequences = [(ids[0], ids[1]), (ids[2], ids[0]), (ids[1], ids[2])]
    expected = under(roles, "policy", batches.pad(sequences, pad_id=0))
    found = under(roles, "policy", batches.pad(sequences, pad_id=9, side=side, width=width))
    torch.testing.assert_close(found, expected, rtol=FP32, atol=FP32)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_hidden_states_do_not_depend_on_packing(attention: str) -> None:
    roles = tiny.roles("policy")
    roles.causal.set_attn_implementation(attention)
    ids = tiny.token_ids(4, 7, 5)
    sequences = [(ids[0], ids[1]), (ids[2], ids[0]), (ids[1], ids[2])]
    packed = batches.pack(sequences, pad_id=0, width=24)
    assert len(packed.sources) < 3
    with roles.role("policy"), torch.no_grad():
        states = hidden(roles, packed)[packed.is_before_response]
    order = [sequences[index] for row in packed.sources for index in row]
    separate = []
    for sequence in order:
        alone = batches.pad([sequence], pad_id=0)
        with roles.role("policy"), torch.no_grad():
            separate.append(hidden(roles, alone)[alone.is_before_response])
    torch.testing.assert_close(states, torch.cat(separate), rtol=FP32, atol=FP32)


def test_head_starts_normal_with_the_papers_spread() -> None:
    roles = Roles(tiny.loaded())
    heads = []
    for seed in range(200):
        roles.add_head(f"h{seed}", seed=seed)
        heads.append(roles.head(f"h{seed}").weight.detach())
    spread = torch.cat(heads).std().item()
    # Five standard errors of a standard deviation from 200 * 32 draws.
    assert spread == pytest.approx(33**-0.5, rel=5 / (2 * 200 * 32) ** 0.5)


def test_scores_are_fp32_under_autocast(roles: Roles) -> None:
    states = torch.randn(5, 32)
    exact = roles.score("value", states)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(roles.score("value", states), exact)


def test_parameters_of_a_role_are_its_adapter_and_head(roles: Roles) -> None:
    names = list(roles.named_parameters_of("value"))
    assert len(names) == 2 * 7 * 2 + 1
    assert all(".value." in name or name == "value/head" for name in names)
    assert all(p.requires_grad for p in roles.parameters_of("value"))
    assert not any(p.requires_grad for p in roles.parameters_of(BASE))


@pytest.mark.parametrize("name", ["base", "reference", "a.b", "a/b", "policy"])
def test_reserved_and_taken_names_are_refused(roles: Roles, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        roles.add_adapter(name)


def test_copy_of_another_shape_is_refused(roles: Roles) -> None:
    with pytest.raises(ValueError, match="r=8"):
        roles.add_adapter("other", LoraSettings(r=8), init_from="policy")


def test_unknown_roles_and_heads_are_named(roles: Roles) -> None:
    with pytest.raises(ValueError, match="no role 'critic'"), roles.role("critic"):
        pass
    with pytest.raises(ValueError, match="'policy' has no head"):
        roles.score("policy", torch.zeros(1, 32))


def test_logits_are_the_models_own(loaded: LoadedModel, batch: Batch) -> None:
    roles = Roles(loaded)
    with torch.no_grad():
        own = loaded.model(input_ids=batch.input_ids, attention_mask=batch.is_real).logits
        ours = roles.logits(hidden(roles, batch))
    torch.testing.assert_close(ours[batch.is_real], own[batch.is_real], rtol=FP32, atol=FP32)


@pytest.mark.parametrize("make", [tiny.loaded, tiny.loaded_gpt2])
def test_right_padding_needs_neither_mask_nor_positions(
    make: Callable[[], LoadedModel], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "supports", lambda _model: False)  # as on a GPU
    roles = tiny.roles("policy", base=make())
    assert batch.is_right_padded
    with roles.role("policy"), torch.no_grad():
        masked = roles.hidden(batch.input_ids, batch.attention_mask, batch.position_ids)
        plain = roles.hidden(batch.input_ids)
    torch.testing.assert_close(plain[batch.is_real], masked[batch.is_real], rtol=FP32, atol=FP32)

"""The LoRA layers' own forward and backward give what PEFT's give."""

import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import tiny
from worker.rlhf.model import lora_kernel
from worker.rlhf.model.roles import Roles

TOLERANCE = 1e-5
BF16_TOLERANCE = 3e-2
WEIGHTS = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(5))
IDS = torch.tensor([tiny.token_ids(9)[0], tiny.token_ids(9, seed=1)[0]])


def states_and_gradients(roles: Roles, *, autocast: bool = False) -> list[Tensor]:
    with roles.role("policy"), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        hidden = roles.hidden(IDS)
        weighed = (hidden.float() * WEIGHTS).sum()
        found = torch.autograd.grad(weighed, roles.parameters_of("policy"))
    return [hidden.detach().float(), *(gradient.float() for gradient in found)]


@pytest.mark.parametrize(("autocast", "tolerance"), [(False, TOLERANCE), (True, BF16_TOLERANCE)])
def test_states_and_gradients_are_those_of_peft(autocast: bool, tolerance: float) -> None:
    roles = tiny.roles("policy", "value")
    expected = states_and_gradients(roles, autocast=autocast)
    assert lora_kernel.install(roles.causal) == 14
    for one, other in zip(states_and_gradients(roles, autocast=autocast), expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


def test_checkpointed_gradients_are_the_same() -> None:
    roles = tiny.roles("policy")
    lora_kernel.install(roles.causal)
    expected = states_and_gradients(roles)
    roles.checkpoint_gradients(True)
    for one, other in zip(states_and_gradients(roles), expected, strict=True):
        assert (one - other).norm() <= TOLERANCE * other.norm()


def test_the_active_role_decides_and_the_base_has_no_part() -> None:
    roles, plain = tiny.roles("policy", "value"), tiny.roles("policy", "value")
    lora_kernel.install(roles.causal)
    with torch.no_grad():
        for role in ("policy", "value", "reference"):
            with roles.role(role), plain.role(role):
                assert torch.allclose(roles.hidden(IDS), plain.hidden(IDS), atol=TOLERANCE)


def test_adapters_added_later_are_taken_in_by_installing_again() -> None:
    roles = tiny.roles("policy")
    first = lora_kernel.install(roles.causal)
    roles.add_adapter("reward", tiny.LORA)
    assert lora_kernel.install(roles.causal) == first

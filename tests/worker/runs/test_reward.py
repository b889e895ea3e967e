"""The reward model's adapters: their shape, and what they begin as."""

from dataclasses import replace

import pytest
import torch

from app.errors import Invalid
from tests.worker.rlhf import tiny
from tests.worker.runs import small
from worker.rlhf.model.roles import SFT, LoraSettings, Roles
from worker.rlhf.reward import reward_model as fitting
from worker.training import reward

OTHER_SHAPES = [
    LoraSettings(r=4, alpha=4),
    LoraSettings(r=2, alpha=16),
    LoraSettings(r=2, alpha=4, targets=("q_proj", "v_proj")),
]
PLAN = small.plan(reward=replace(small.PLAN.reward, ensemble=2))


def with_sft(shape: LoraSettings) -> Roles:
    roles = Roles(tiny.loaded())
    roles.add_adapter(SFT, shape)
    with torch.no_grad():
        for parameter in roles.parameters_of(SFT):
            parameter.normal_()
    return roles


def hidden(roles: Roles, role: str) -> torch.Tensor:
    (ids,) = tiny.token_ids(9)
    with torch.no_grad(), roles.role(role):
        return roles.hidden(torch.tensor([ids]))


@pytest.mark.parametrize("shape", OTHER_SHAPES)
def test_a_reward_model_begins_where_sft_ended_whatever_shape_that_has(shape: LoraSettings) -> None:
    roles = with_sft(shape)
    config = reward.config_of(PLAN, 8, roles=roles)
    names = fitting.prepare(roles, config)
    reward.start_from_sft(roles, names)
    assert config.lora == shape
    for name in names:
        assert torch.equal(hidden(roles, name), hidden(roles, SFT))


@pytest.mark.parametrize("shape", OTHER_SHAPES)
def test_an_adapter_of_another_shape_is_never_taken_over(shape: LoraSettings) -> None:
    roles = with_sft(shape)
    names = fitting.prepare(roles, reward.config_of(PLAN, 8))
    with pytest.raises(Invalid, match=f"the SFT adapter r {shape.r}, alpha {shape.alpha} on"):
        reward.start_from_sft(roles, names)


def test_without_sft_the_plan_gives_the_shape() -> None:
    roles = Roles(tiny.loaded())
    config = reward.config_of(PLAN, 8, roles=roles)
    assert (config.lora.r, config.lora.alpha) == (small.LORA.r, small.LORA.alpha)
    reward.start_from_sft(roles, fitting.prepare(roles, config))

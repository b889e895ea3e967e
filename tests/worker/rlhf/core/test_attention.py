from pathlib import Path

import pytest
import torch

from tests.worker.rlhf import tiny
from worker.rlhf.core import attention, batches
from worker.rlhf.model import saving
from worker.rlhf.model.roles import Roles


def states(roles: Roles, autocast: bool) -> torch.Tensor:
    ids = tiny.token_ids(5, 9, 7)
    batch = batches.pad([(ids[0], ids[1]), (ids[2], ())], roles.pad_id)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        hidden = roles.hidden(batch.input_ids, batch.attention_mask, batch.position_ids)
    return hidden[batch.is_real].float()


@pytest.mark.usefixtures("own_code")
def test_without_autocast_it_is_the_librarys_attention() -> None:
    ours, plain = tiny.roles("policy"), tiny.roles("policy")
    assert ours.causal.config._attn_implementation == attention.NAME
    plain.causal.set_attn_implementation("sdpa")
    assert torch.equal(states(ours, autocast=False), states(plain, autocast=False))


@pytest.mark.usefixtures("own_code")
def test_under_autocast_it_loses_no_precision() -> None:
    ours, plain = tiny.roles("policy"), tiny.roles("policy")
    plain.causal.set_attn_implementation("sdpa")
    exact = states(ours, autocast=False)
    error = (states(ours, autocast=True) - exact).square().mean()
    assert 0 < error < (states(plain, autocast=True) - exact).square().mean()


def test_another_choice_of_attention_stays() -> None:
    model = tiny.loaded().model
    model.set_attn_implementation("eager")
    attention.prefer_fp32(model)
    assert model.config._attn_implementation == "eager"


def test_saved_models_do_not_name_it(tmp_path: Path) -> None:
    saving.save_full(tiny.loaded(), tmp_path)
    assert not any(attention.NAME in path.read_text() for path in tmp_path.glob("*.json"))

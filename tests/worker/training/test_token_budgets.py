"""Tokens per forward pass: the plan's, or by the memory of the device."""

import pytest

from tests.worker.rlhf import tiny
from worker.rlhf.core import memory_room
from worker.rlhf.model.roles import Roles
from worker.training import token_budgets

USUAL = 2048


@pytest.fixture
def roles() -> Roles:
    return Roles(tiny.loaded())


def test_the_plan_comes_before_memory_and_a_cpu_keeps_the_usual_budget(
    roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert token_budgets.of(roles, None, USUAL) == USUAL
    monkeypatch.setattr(memory_room, "free_bytes", lambda _device: 2**40)
    assert token_budgets.of(roles, 100, USUAL) == 100
    assert token_budgets.of(roles, None, USUAL) == token_budgets.MOST


def test_a_budget_grows_with_the_free_memory_and_if_activations_are_recomputed(
    roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = roles.causal.config
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 4096, 14_336, 32
    kept, recomputed = (
        token_budgets.bytes_per_token(config, recomputes=recomputes) for recomputes in (False, True)
    )
    assert 4 * 2**20 < kept < 16 * 2**20  # of a model with 8 billion parameters
    assert recomputed < kept / 10
    budgets = []
    for free in (1, 40, 80):
        monkeypatch.setattr(memory_room, "free_bytes", lambda _device, gib=free: gib * 2**30)
        budgets.append(token_budgets.of(roles, None, USUAL))
    assert budgets[0] == token_budgets.LEAST
    assert budgets[0] < budgets[1] < budgets[2]
    assert budgets[2] * kept <= 80 * 2**30 * memory_room.SHARE_OF_FREE
    assert token_budgets.of(roles, None, USUAL, recomputes=True) > budgets[2]

"""Attention by branches is attention with the mask, with the same gradients."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.worker.rlhf import tiny
from worker.rlhf.core import branch_rows
from worker.rlhf.reward import shared_prefix
from worker.rlhf.reward.shared_prefix import Branches

FP32 = 1e-5
SHAPES: dict[str, list[tuple[int, tuple[int, ...]]]] = {
    "several": [(7, (5, 3, 6)), (2, (4,)), (9, (1, 8))],
    "an empty completion": [(4, (0, 5)), (3, (2, 2))],
    "an empty prompt": [(0, (4,)), (5, (3, 2))],
}


def _laid_out(shape: Sequence[tuple[int, tuple[int, ...]]]) -> shared_prefix.Layout:
    branches = [
        Branches(tiny.token_ids(max(1, prompt), seed=prompt)[0][:prompt], tiny.token_ids(*lengths))
        for prompt, lengths in shape
    ]
    return shared_prefix.shared(branches, pad_id=0)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("role", ["policy", "base"])
def test_states_and_gradients_are_those_with_the_mask(
    role: str, shape: list[tuple[int, tuple[int, ...]]]
) -> None:
    layout = _laid_out(shape)
    assert layout.branches is not None
    found: list[tuple[Tensor, list[Tensor]]] = []
    for branches in (None, layout.branches):
        roles = tiny.roles("policy")  # with fewer heads of keys than of queries
        parameters = roles.parameters_of("policy")
        where, order = layout.ends
        with roles.role(role):
            states = roles.hidden(
                layout.input_ids,
                layout.attention_mask,
                layout.position_ids,
                where,
                branches=branches,
            )[order]
            if role == "policy":
                weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(3))
                torch.autograd.backward((states * weights).sum())
        found.append((states.detach(), [p.grad for p in parameters if p.grad is not None]))
    (masked, expected), (ours, gradients) = found
    torch.testing.assert_close(ours, masked, rtol=FP32, atol=FP32)
    assert len(gradients) == len(expected) == (28 if role == "policy" else 0)
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=FP32)


def test_only_right_padded_shared_rows_have_branches() -> None:
    branches = [Branches([5, 6], [[7], [8, 9]])]
    assert shared_prefix.shared(branches, pad_id=0, pad_side="left").branches is None
    assert shared_prefix.separate(branches, pad_id=0).branches is None
    assert branch_rows.of([3], [[0]], width=3) is None

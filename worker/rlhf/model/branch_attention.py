"""Attention in rows that completions share with their prompt, without what the mask forbids.

The tokens of prompts attend to one another, and those of a completion to its prompt and itself, as
two calls of PyTorch's attention for CPUs. Keys and values of a prompt are copied for its
completions and not kept: the backward pass copies them again.
"""

from typing import Any

import torch
from torch import Tensor

from worker.rlhf.core.branch_rows import BranchRows

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attend(query: Tensor, key: Tensor, value: Tensor, rows: BranchRows, scale: float) -> Tensor:
    """Return the attention output, [B, T, H, D]; 0 at padding.

    Args:
        query: [B, T, H, D].
        key: [B, T, G, D], where G divides H.
        value: [B, T, G, D].
        rows: where prompts and completions lie.
        scale: of the scores.
    """
    out: Tensor = _Attend.apply(query, key, value, rows, scale)  # type: ignore[no-untyped-call]
    return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: BranchRows, scale: float
    ) -> Tensor:
        shared = _of_prompts(query, key, value, rows)
        branches = _of_completions(query, key, value, rows)
        mask = rows.mask.to(query.dtype)
        shared_out, shared_lse = _forward(*shared, is_causal=True, scale=scale)
        own_out, own_lse = _forward(*branches, attn_mask=mask, scale=scale)
        out = torch.zeros_like(query, memory_format=torch.contiguous_format)
        out[:, : rows.prompt] = shared_out.transpose(1, 2) * rows.is_prompt[..., None, None]
        out.flatten(0, 1)[rows.at[rows.is_real]] = own_out.transpose(1, 2)[rows.is_real]
        # The output is kept by what follows anyway; the parts of it are read again from there.
        ctx.save_for_backward(query, key, value, out, shared_lse, own_lse, mask)
        ctx.rows, ctx.scale = rows, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, shared_lse, own_lse, mask = ctx.saved_tensors
        rows: BranchRows = ctx.rows
        (grad,) = gradients
        given = (query, key, value)
        # What is no token of a prompt, or of a completion, must not pass a gradient on.
        grad_shared = (grad[:, : rows.prompt] * rows.is_prompt[..., None, None]).transpose(1, 2)
        grad_own = (_tokens(grad)[rows.at] * rows.is_real[..., None, None]).transpose(1, 2)
        shared_out = out[:, : rows.prompt].transpose(1, 2)
        own_out = _tokens(out)[rows.at].transpose(1, 2)
        of_shared = _backward(
            grad_shared,
            *_of_prompts(*given, rows),
            shared_out,
            shared_lse,
            0.0,
            True,
            scale=ctx.scale,
        )
        of_own = _backward(
            grad_own,
            *_of_completions(*given, rows),
            own_out,
            own_lse,
            0.0,
            False,
            attn_mask=mask,
            scale=ctx.scale,
        )
        found = []
        for number, (tensor, from_prompt, from_own) in enumerate(
            zip(given, of_shared, of_own, strict=True)
        ):
            total = torch.zeros_like(tensor, memory_format=torch.contiguous_format)
            heads = tensor.shape[2]
            total[:, : rows.prompt] = _summed(from_prompt, heads)
            tokens = _summed(from_own, heads)  # C, P+L or L, H, D
            if number:  # keys and values
                copies = total[:, : rows.prompt].index_add(
                    0, rows.prompt_of, tokens[:, : rows.prompt]
                )
                total[:, : rows.prompt] = copies
                tokens = tokens[:, rows.prompt :]
            _tokens(total).index_add_(0, rows.at[rows.is_real], tokens[rows.is_real])
            found.append(total)
        return *found, None, None


def _of_prompts(query: Tensor, key: Tensor, value: Tensor, rows: BranchRows) -> list[Tensor]:
    heads = query.shape[2]
    return [_headed(tensor[:, : rows.prompt], heads) for tensor in (query, key, value)]


def _of_completions(query: Tensor, key: Tensor, value: Tensor, rows: BranchRows) -> list[Tensor]:
    heads = query.shape[2]
    found = [_headed(_tokens(query)[rows.at], heads)]
    for tensor in (key, value):
        prompts = tensor[:, : rows.prompt].index_select(0, rows.prompt_of)
        found.append(_headed(torch.cat([prompts, _tokens(tensor)[rows.at]], dim=1), heads))
    return found


def _headed(tensor: Tensor, heads: int) -> Tensor:
    """Return [B, T, G, D] as [B, H, T, D], with the heads of a group repeated."""
    repeats = heads // tensor.shape[2]
    return (tensor if repeats == 1 else tensor.repeat_interleave(repeats, 2)).transpose(1, 2)


def _summed(gradient: Tensor, heads: int) -> Tensor:
    """Return [B, H, T, D] as [B, T, G, D], summed over the heads of a group."""
    by_token = gradient.transpose(1, 2)
    if by_token.shape[2] == heads:
        return by_token
    rows, width, _, size = by_token.shape
    return by_token.reshape(rows, width, heads, -1, size).sum(3)


def _tokens(tensor: Tensor) -> Tensor:
    return tensor.flatten(0, 1)

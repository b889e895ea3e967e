"""Hand-written forward and backward passes of Llama and Qwen2 layers with LoRA, for CPUs.

The model's own code runs each norm, rotation, gate and adapter as separate operations, and autograd
keeps what each of them needs. Here a layer is two autograd functions around an attention: products
are accumulated in place, and what is cheap to recompute is not kept. That halves the memory of a
training step and leaves little but large matrix products in its time. Weights and gradients, which
exist for adapters only, are as in the model's own code; models and settings that are not supported
keep that code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM

from worker.rlhf.core import batches, products
from worker.rlhf.core.attention import BOOLEAN_MASKS
from worker.rlhf.core.branch_rows import BranchRows
from worker.rlhf.model import branch_attention, norms, sharding
from worker.rlhf.model.lora_kernel import is_plain
from worker.rlhf.model.merged_weights import base_layer

FAMILIES = (LlamaForCausalLM, Qwen2ForCausalLM)
FULL_PRECISION = (torch.float32, torch.float64)
"""Supported dtypes of the base weights: with half precision, norms would need a higher one."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


def hidden(
    model: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    where: Tensor | None = None,
    branches: BranchRows | None = None,
) -> Tensor:
    """Return the last hidden states, [B, T, d], or those at the requested positions, [N, d].

    Args:
        model: A model that `supports` accepts, with its adapters activated.
        input_ids: [B, T].
        attention_mask: `is_real` [B, T], or a mask per pair of tokens [B, 1, T, T].
        position_ids: [B, T]; by default, the column indices.
        where: The requested positions, [B, T] bool or flat indices [N]; the last layer skips the
            others.
        branches: What the mask allows, if rows hold prompts with their completions.
    """
    decoder = _decoder(model)
    embedded = decoder.embed_tokens(input_ids)
    if position_ids is None:
        position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    position_ids = position_ids.expand(input_ids.shape)
    is_allowed = _allowed(attention_mask)
    cos, sin = decoder.rotary_emb(embedded, position_ids)
    half = cos.shape[-1] // 2
    rows, width = input_ids.shape
    shape = _Shape(rows, width, decoder.layers[0].self_attn.head_dim, _product_dtype(embedded))
    rotation = [table[..., :half].reshape(-1, 1, half) for table in (cos, sin)]
    x = embedded.flatten(0, 1)  # N d
    last = len(decoder.layers) - 1
    with torch.autocast(x.device.type, enabled=False):
        for number, layer in enumerate(decoder.layers):
            selected = batches.flat_indices(where) if number == last and where is not None else None
            x = _layer(layer, x, rotation, branches or is_allowed, shape, selected)
        states: Tensor = decoder.norm(x)
    return states.view(rows, width, -1) if where is None else states


def supports(model: PreTrainedModel) -> bool:
    """Return whether `hidden` computes what the model does with its active adapters."""
    if not _is_supported(model):
        return False
    layers = _decoder(model).layers
    linear = [_linear(layer, name) for layer in layers for name in (*ATTENTION, *MLP)]
    with_adapter = [_has_adapter(module) for module in linear]
    return len(set(with_adapter)) == 1 and all(_is_frozen_and_plain(module) for module in linear)


def _allowed(mask: Tensor | None) -> Tensor | None:
    """Return the mask per pair of tokens, [B, 1, T, T], or None where causality is enough.

    It is if all padding is on the right: no real token comes after it.
    """
    if mask is None or mask.ndim == 4:
        return mask
    is_real = mask.bool()
    if bool((is_real[:, 1:] <= is_real[:, :-1]).all() & is_real[:, 0].all()):
        return None
    width = is_real.shape[1]
    is_earlier = torch.ones(width, width, dtype=torch.bool, device=mask.device).tril()
    is_self = torch.eye(width, dtype=torch.bool, device=mask.device)
    return ((is_earlier & is_real[:, None]) | is_self)[:, None]


@dataclass(frozen=True, slots=True)
class _Shape:
    rows: int
    width: int
    head: int
    dtype: torch.dtype  # of matrix products


@dataclass(frozen=True, slots=True)
class _Map:
    """A frozen linear map and its adapter's scale; the adapter's tensors are passed separately."""

    weight: Tensor
    bias: Tensor | None
    scale: float


def _layer(
    layer: Any,
    x: Tensor,
    rotation: Sequence[Tensor],
    is_allowed: Tensor | BranchRows | None,
    shape: _Shape,
    selected: Tensor | None,
) -> Tensor:
    maps, adapters = _read(layer, shape.dtype)
    before, after = layer.input_layernorm, layer.post_attention_layernorm
    query, key, value = (
        part.view(shape.rows, shape.width, -1, shape.head)
        for part in _Project.apply(  # type: ignore[no-untyped-call]
            x, before.weight, before.variance_epsilon, rotation, shape, maps[:3], *adapters[:6]
        )
    )
    scale = layer.self_attn.scaling
    if isinstance(is_allowed, BranchRows):
        attended = branch_attention.attend(query, key, value, is_allowed, scale)
    else:
        attended = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=is_allowed,
            is_causal=is_allowed is None,
            scale=scale,
            enable_gqa=query.shape[2] != key.shape[2],
        ).transpose(1, 2)
    attended = attended.flatten(2).flatten(0, 1)  # N H*D
    out: Tensor = _Rest.apply(  # type: ignore[no-untyped-call]
        x, attended, after.weight, after.variance_epsilon, selected, shape, maps[3:], *adapters[6:]
    )
    return out


class _Project(torch.autograd.Function):
    """The norm, the query, key and value projections with adapters, and the rotary embedding."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: Tensor,
        eps: float,
        rotation: Sequence[Tensor],
        shape: _Shape,
        maps: Sequence[_Map],
        *adapters: Tensor | None,
    ) -> tuple[Tensor, ...]:
        normed, inverse = norms.normed(x, norm, eps)
        outs, inner = _mapped(normed.to(shape.dtype), maps, adapters)
        cos, sin = rotation
        attention_dtype = x.dtype  # full precision, whatever the dtype of the products
        query, key = (
            norms.rotate(projected, cos, sin, shape.head, attention_dtype) for projected in outs[:2]
        )
        ctx.save_for_backward(x, norm, inverse, cos, sin, inner, *adapters)
        ctx.maps, ctx.shape = maps, shape
        return query, key, outs[2].to(attention_dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, norm, inverse, cos, sin, inner, *adapters = ctx.saved_tensors
        dtype = ctx.shape.dtype
        grad_query, grad_key = (
            norms.rotate(gradient, cos, -sin, ctx.shape.head, dtype) for gradient in gradients[:2]
        )
        grad_value = gradients[2].reshape(grad_query.shape[0], -1).to(dtype)
        normed = (x * inverse).mul_(norm).to(dtype)
        grad_normed, grad_adapters = _mapped_backward(
            (grad_query, grad_key, grad_value), normed, inner, ctx.maps, adapters
        )
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = norms.normed_backward(grad_normed.to(x.dtype), x, norm, inverse)
        return grad_x, None, None, None, None, None, *grad_adapters


class _Rest(torch.autograd.Function):
    """Attention output, norm and gated MLP at the selected positions."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        attended: Tensor,
        norm: Tensor,
        eps: float,
        selected: Tensor | None,
        shape: _Shape,
        maps: Sequence[_Map],
        *adapters: Tensor | None,
    ) -> Tensor:
        ctx.count, ctx.selected = x.shape[0], selected
        if selected is not None:
            x, attended = x.index_select(0, selected), attended.index_select(0, selected)
        attended = attended.to(shape.dtype)
        (out,), inner_out = _mapped(attended, maps[:1], adapters[:2])
        middle = x + out
        normed, inverse = norms.normed(middle, norm, eps)
        (gate, up), inner_in = _mapped(normed.to(shape.dtype), maps[1:3], adapters[2:6])
        (down,), inner_down = _mapped(F.silu(gate).mul_(up), maps[3:], adapters[6:])
        ctx.save_for_backward(
            attended, middle, norm, inverse, gate, up, inner_out, inner_in, inner_down, *adapters
        )
        ctx.maps, ctx.shape = maps, shape
        return middle + down

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        attended, middle, norm, inverse, gate, up, *inner = ctx.saved_tensors[:9]
        adapters, maps, dtype = ctx.saved_tensors[9:], ctx.maps, ctx.shape.dtype
        (grad_out,) = gradients
        activated = F.silu(gate)
        grad_product, grad_down_adapters = _mapped_backward(
            (grad_out.to(dtype),), activated * up, inner[2], maps[3:], adapters[6:]
        )
        grad_up = activated.mul_(grad_product)
        grad_gate = torch.ops.aten.silu_backward(grad_product.mul_(up), gate)
        normed = (middle * inverse).mul_(norm).to(dtype)
        grad_normed, grad_in_adapters = _mapped_backward(
            (grad_gate, grad_up), normed, inner[1], maps[1:3], adapters[2:6]
        )
        grad_middle = norms.normed_backward(grad_normed.to(middle.dtype), middle, norm, inverse)
        grad_middle = grad_middle.add_(grad_out)
        grad_attended, grad_out_adapters = _mapped_backward(
            (grad_middle.to(dtype),), attended, inner[0], maps[:1], adapters[:2]
        )
        grad_x, grad_attended = (
            _scatter(gradient.to(middle.dtype), ctx.selected, ctx.count)
            for gradient in (grad_middle, grad_attended)
        )
        grad_adapters = (*grad_out_adapters, *grad_in_adapters, *grad_down_adapters)
        return grad_x, grad_attended, None, None, None, None, None, *grad_adapters


def _mapped(
    x: Tensor, maps: Sequence[_Map], adapters: Sequence[Tensor | None]
) -> tuple[list[Tensor], Tensor]:
    """Return y = x Wᵀ + b + s (x Aᵀ) Bᵀ for each map, and x Aᵀ of all, [N, sum of r]."""
    downs, ups = adapters[::2], adapters[1::2]
    outs = [products.linear(x, linear_map.weight, linear_map.bias) for linear_map in maps]
    if downs[0] is None:
        return outs, x.new_empty(0)
    inner = products.linear(x, _joined(downs, x.dtype))
    for out, map_inner, up, linear_map in zip(
        outs, torch.split(inner, _ranks(downs), 1), ups, maps, strict=True
    ):
        assert up is not None
        out.addmm_(map_inner, up.to(x.dtype).T, alpha=linear_map.scale)
    return outs, inner


def _mapped_backward(
    grad_outs: Sequence[Tensor],
    x: Tensor,
    inner: Tensor,
    maps: Sequence[_Map],
    adapters: Sequence[Tensor | None],
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the gradient of the common input, and those of each A and B."""
    downs, ups = adapters[::2], adapters[1::2]
    grad_x = products.back(grad_outs[0], maps[0].weight)
    for grad_out, linear_map in zip(grad_outs[1:], maps[1:], strict=True):
        grad_x.add_(products.back(grad_out, linear_map.weight))
    if downs[0] is None:
        return grad_x, [None] * len(adapters)
    grad_inner = torch.empty_like(inner)
    grad_ups = []
    ranks = _ranks(downs)
    for grad_out, map_inner, grad_map_inner, up, linear_map in zip(
        grad_outs,
        torch.split(inner, ranks, 1),
        torch.split(grad_inner, ranks, 1),
        ups,
        maps,
        strict=True,
    ):
        assert up is not None
        grad_map_inner.copy_(products.back(grad_out, up.to(x.dtype))).mul_(linear_map.scale)
        grad_ups.append((grad_out.T @ map_inner).mul_(linear_map.scale).to(up.dtype))
    joined = _joined(downs, x.dtype)
    grad_x.addmm_(grad_inner, joined)
    grad_downs = torch.split(grad_inner.T @ x, ranks)
    grad_adapters: list[Tensor | None] = []
    for grad_down, grad_up, down in zip(grad_downs, grad_ups, downs, strict=True):
        assert down is not None
        grad_adapters += [grad_down.to(down.dtype), grad_up]
    return grad_x, grad_adapters


def _scatter(rows: Tensor, indices: Tensor | None, count: int) -> Tensor:
    """Return selected rows at their original indices, with zeros elsewhere."""
    if indices is None:
        return rows
    return rows.new_zeros(count, rows.shape[1]).index_copy_(0, indices, rows)


def _joined(downs: Sequence[Tensor | None], dtype: torch.dtype) -> Tensor:
    return torch.cat([down for down in downs if down is not None]).to(dtype)


def _ranks(downs: Sequence[Tensor | None]) -> list[int]:
    return [down.shape[0] for down in downs if down is not None]


def _read(layer: Any, dtype: torch.dtype) -> tuple[list[_Map], list[Tensor | None]]:
    maps: list[_Map] = []
    adapters: list[Tensor | None] = []
    for name in (*ATTENTION, *MLP):
        module = _linear(layer, name)
        base = base_layer(module)
        scale = 1.0
        if _has_adapter(module):
            (adapter,) = module.active_adapters
            scale = module.scaling[adapter]
            adapters += [module.lora_A[adapter].weight, module.lora_B[adapter].weight]
        else:
            adapters += [None, None]
        bias = None if base.bias is None else base.bias.to(dtype)
        maps.append(_Map(base.weight.to(dtype), bias, scale))
    return maps, adapters


def _product_dtype(x: Tensor) -> torch.dtype:
    device_type = x.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return x.dtype


def _is_supported(model: PreTrainedModel) -> bool:
    config = model.config
    return (
        type(model) in FAMILIES
        and config._attn_implementation in BOOLEAN_MASKS
        and model.device.type == "cpu"
        and sharding.of(model) is None  # a layer's weights are there in its own forward pass only
        and model.dtype in FULL_PRECISION
        and config.hidden_act == "silu"
        and not getattr(config, "use_sliding_window", False)
        and not _decoder(model).gradient_checkpointing
    )


def _is_frozen_and_plain(module: Any) -> bool:
    base = base_layer(module)
    if type(base) is not nn.Linear or base.weight.requires_grad:
        return False
    if not isinstance(module, LoraLinear):
        return not hasattr(module, "base_layer")
    return not module.merged and (module.disable_adapters or is_plain(module))


def _has_adapter(module: Any) -> bool:
    return isinstance(module, LoraLinear) and not module.disable_adapters


def _linear(layer: Any, name: str) -> Any:
    return getattr(layer.self_attn if name in ATTENTION else layer.mlp, name)


def _decoder(model: PreTrainedModel) -> Any:
    # Any, because the layers of the families share attribute names but no type.
    return model.get_decoder()  # type: ignore[no-untyped-call]

"""The layers of a Llama or Qwen2 with LoRA, forward and backward by hand, for processors.

The model's own code runs each norm, rotation, gate and adapter as operations of its own, and
autograd keeps what each of them needs. Here a layer is two functions around an attention: products
are accumulated in place, and what is cheap to compute again is not kept. That halves the memory of
a training step, and leaves little but large products in its time. Which weights are used, and that
gradients of the adapters alone come out, is as in the model's own code; other models, and what this
does not know, keep theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM

from worker.rlhf.core.attention import BOOLEAN_MASKS
from worker.rlhf.model import norms
from worker.rlhf.model.lora_kernel import is_plain
from worker.rlhf.model.merged_weights import base_layer

FAMILIES = (LlamaForCausalLM, Qwen2ForCausalLM)
FULL_PRECISION = (torch.float32, torch.float64)
"""Of the base's weights: in half of it a norm would have to be computed in more."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


def hidden(
    model: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    where: Tensor | None = None,
) -> Tensor:
    """Return last hidden states, [B, T, d], or those at the positions asked for, [N, d].

    Args:
        model: One that `supports` says yes to, with the adapters in use active.
        input_ids: [B, T].
        attention_mask: What is real, [B, T], or who may attend to whom, [B, 1, T, T].
        position_ids: [B, T]; by default columns.
        where: The positions that are asked for, [B, T] bool; the last layer leaves out the others.

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
    rotation = [each[..., :half].reshape(-1, 1, half) for each in (cos, sin)]
    x = embedded.flatten(0, 1)  # N d
    last = len(decoder.layers) - 1
    with torch.autocast(x.device.type, enabled=False):
        for number, layer in enumerate(decoder.layers):
            chosen = _places(where) if number == last else None
            x = _layer(layer, x, rotation, is_allowed, shape, chosen)
        found: Tensor = decoder.norm(x)
    return found.view(rows, width, -1) if where is None else found


def supports(model: PreTrainedModel) -> bool:
    """Say whether `hidden` computes what the model does, with the adapters now active."""
    if not _is_known(model):
        return False
    layers = _decoder(model).layers
    linear = [_linear(layer, name) for layer in layers for name in (*ATTENTION, *MLP)]
    with_adapter = [_has_adapter(each) for each in linear]
    return len(set(with_adapter)) == 1 and all(_is_frozen_and_plain(each) for each in linear)


def _allowed(mask: Tensor | None) -> Tensor | None:
    """Return who may attend to whom, [B, 1, T, T], or None where being causal is enough.

    It is where padding, if any, is behind all that is real: nothing real comes after it.
    """
    if mask is None or mask.ndim == 4:
        return mask
    is_real = mask.bool()
    if bool((is_real[:, 1:] <= is_real[:, :-1]).all() & is_real[:, 0].all()):
        return None
    width = is_real.shape[1]
    earlier = torch.ones(width, width, dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(width, dtype=torch.bool, device=mask.device)
    return ((earlier & is_real[:, None]) | itself)[:, None]


@dataclass(frozen=True, slots=True)
class _Shape:
    rows: int
    width: int
    head: int
    dtype: torch.dtype  # of products


@dataclass(frozen=True, slots=True)
class _Map:
    """A frozen linear map and its adapter's scale; the adapter's own tensors travel apart."""

    weight: Tensor
    bias: Tensor | None
    scale: float


Adapter = tuple[Tensor, Tensor] | tuple[None, None]


def _layer(
    layer: Any,
    x: Tensor,
    rotation: Sequence[Tensor],
    is_allowed: Tensor | None,
    shape: _Shape,
    chosen: Tensor | None,
) -> Tensor:
    maps, adapters = _read(layer, shape.dtype)
    before, after = layer.input_layernorm, layer.post_attention_layernorm
    query, key, value = (
        part.view(shape.rows, shape.width, -1, shape.head).transpose(1, 2)
        for part in _Project.apply(  # type: ignore[no-untyped-call]
            x, before.weight, before.variance_epsilon, rotation, shape, maps[:3], *adapters[:6]
        )
    )
    found = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=is_allowed,
        is_causal=is_allowed is None,
        scale=layer.self_attn.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    found = found.transpose(1, 2).flatten(2).flatten(0, 1)  # N H*D
    out: Tensor = _Rest.apply(  # type: ignore[no-untyped-call]
        x, found, after.weight, after.variance_epsilon, chosen, shape, maps[3:], *adapters[6:]
    )
    return out


class _Project(torch.autograd.Function):
    """Norm, the three projections with their adapters, and the rotation of two of them."""

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
        kept = x.dtype  # of what attends: full precision, whatever the products are in
        query, key = (norms.turned(each, cos, sin, shape.head, kept) for each in outs[:2])
        ctx.save_for_backward(x, norm, inverse, cos, sin, inner, *adapters)
        ctx.maps, ctx.shape = maps, shape
        return query, key, outs[2].to(kept)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, norm, inverse, cos, sin, inner, *adapters = ctx.saved_tensors
        dtype = ctx.shape.dtype
        of_query, of_key = (
            norms.turned(each, cos, -sin, ctx.shape.head, dtype) for each in gradients[:2]
        )
        of_outs = (of_query, of_key, gradients[2].reshape(of_query.shape[0], -1).to(dtype))
        normed = (x * inverse).mul_(norm).to(dtype)
        of_normed, of_adapters = _mapped_back(of_outs, normed, inner, ctx.maps, adapters)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = norms.normed_back(of_normed.to(x.dtype), x, norm, inverse)
        return of_x, None, None, None, None, None, *of_adapters


class _Rest(torch.autograd.Function):
    """What follows the attention at the chosen positions: its output, the norm, the gated MLP."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        attended: Tensor,
        norm: Tensor,
        eps: float,
        chosen: Tensor | None,
        shape: _Shape,
        maps: Sequence[_Map],
        *adapters: Tensor | None,
    ) -> Tensor:
        ctx.count, ctx.chosen = x.shape[0], chosen
        if chosen is not None:
            x, attended = x.index_select(0, chosen), attended.index_select(0, chosen)
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
        (of_out,) = gradients
        activated = F.silu(gate)
        of_product, of_down = _mapped_back(
            (of_out.to(dtype),), activated * up, inner[2], maps[3:], adapters[6:]
        )
        of_up = activated.mul_(of_product)
        of_gate = torch.ops.aten.silu_backward(of_product.mul_(up), gate)
        normed = (middle * inverse).mul_(norm).to(dtype)
        of_normed, of_in = _mapped_back(
            (of_gate, of_up), normed, inner[1], maps[1:3], adapters[2:6]
        )
        of_middle = norms.normed_back(of_normed.to(middle.dtype), middle, norm, inverse).add_(
            of_out
        )
        of_attended, of_o = _mapped_back(
            (of_middle.to(dtype),), attended, inner[0], maps[:1], adapters[:2]
        )
        of_x, of_attended = (
            _spread(each.to(middle.dtype), ctx.chosen, ctx.count)
            for each in (of_middle, of_attended)
        )
        return of_x, of_attended, None, None, None, None, None, *of_o, *of_in, *of_down


def _mapped(
    x: Tensor, maps: Sequence[_Map], adapters: Sequence[Tensor | None]
) -> tuple[list[Tensor], Tensor]:
    """Return each y = x Wᵀ + b + s (x Aᵀ) Bᵀ, and x Aᵀ of all, [N, sum of r]."""
    downs, ups = adapters[::2], adapters[1::2]
    outs = [F.linear(x, each.weight, each.bias) for each in maps]
    if downs[0] is None:
        return outs, x.new_empty(0)
    inner = x @ _joined(downs, x.dtype).T
    for out, mine, up, each in zip(
        outs, torch.split(inner, _ranks(downs), 1), ups, maps, strict=True
    ):
        assert up is not None
        out.addmm_(mine, up.to(x.dtype).T, alpha=each.scale)
    return outs, inner


def _mapped_back(
    of_outs: Sequence[Tensor],
    x: Tensor,
    inner: Tensor,
    maps: Sequence[_Map],
    adapters: Sequence[Tensor | None],
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the gradient of the common input, and of each A and B."""
    downs, ups = adapters[::2], adapters[1::2]
    of_x = of_outs[0] @ maps[0].weight
    for of_out, each in zip(of_outs[1:], maps[1:], strict=True):
        of_x.addmm_(of_out, each.weight)
    if downs[0] is None:
        return of_x, [None] * len(adapters)
    of_inner = torch.empty_like(inner)
    of_ups = []
    ranks = _ranks(downs)
    for of_out, mine, of_mine, up, each in zip(
        of_outs,
        torch.split(inner, ranks, 1),
        torch.split(of_inner, ranks, 1),
        ups,
        maps,
        strict=True,
    ):
        assert up is not None
        of_mine.copy_(of_out @ up.to(x.dtype)).mul_(each.scale)
        of_ups.append((of_out.T @ mine).mul_(each.scale).to(up.dtype))
    joined = _joined(downs, x.dtype)
    of_x.addmm_(of_inner, joined)
    of_downs = torch.split(of_inner.T @ x, ranks)
    found: list[Tensor | None] = []
    for of_down, of_up, down in zip(of_downs, of_ups, downs, strict=True):
        assert down is not None
        found += [of_down.to(down.dtype), of_up]
    return of_x, found


def _places(where: Tensor | None) -> Tensor | None:
    return None if where is None else where.flatten().nonzero().squeeze(1)


def _spread(rows: Tensor, places: Tensor | None, count: int) -> Tensor:
    """Put rows back where they were chosen from, zeros elsewhere."""
    if places is None:
        return rows
    return rows.new_zeros(count, rows.shape[1]).index_copy_(0, places, rows)


def _joined(downs: Sequence[Tensor | None], dtype: torch.dtype) -> Tensor:
    return torch.cat([each for each in downs if each is not None]).to(dtype)


def _ranks(downs: Sequence[Tensor | None]) -> list[int]:
    return [each.shape[0] for each in downs if each is not None]


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
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _is_known(model: PreTrainedModel) -> bool:
    config = model.config
    return (
        type(model) in FAMILIES
        and config._attn_implementation in BOOLEAN_MASKS
        and model.device.type == "cpu"
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
    # Any, because the families' layers share names but no type.
    return model.get_decoder()  # type: ignore[no-untyped-call]

"""A LoRA forward and backward pass with few passes over memory.

PEFT's forward allocates tensors of the output's size for the low-rank part, its scaled copy and the
sum, and autograd keeps more. Here the low-rank part is accumulated in place: into the output in the
forward pass, and into the gradient of the input in the backward pass. Layers other than a frozen
linear map with one plain adapter keep PEFT's forward.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn


def install(model: nn.Module) -> int:
    """Replace the forward of every plain LoRA layer of a model; return the number of such layers.

    Calling it again, for example after adding an adapter, has no effect on layers that have it.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, LoraLinear)
        and type(module) in (LoraLinear, FewPassLinear)
        and type(module.get_base_layer()) is nn.Linear
    ]
    for layer in layers:
        layer.__class__ = FewPassLinear
    return len(layers)


class FewPassLinear(LoraLinear):
    """PEFT's LoRA layer on a linear map, with another forward in the plain case.

    PEFT requires "Linear" in the name to find such layers when it adds an adapter.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the layer's output with the active adapter; other cases are left to PEFT."""
        if args or kwargs or self.disable_adapters or self.merged or not is_plain(self):
            original: Tensor = super().forward(x, *args, **kwargs)
            return original
        (name,) = self.active_adapters
        base, dtype = self.get_base_layer(), x.dtype
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
        output: Tensor = _LowRank.apply(  # type: ignore[no-untyped-call]
            x.to(dtype),
            base.weight.to(dtype),
            None if base.bias is None else base.bias.to(dtype),
            self.lora_A[name].weight.to(dtype),
            self.lora_B[name].weight.to(dtype),
            self.scaling[name],
        )
        return output


def is_plain(layer: Any) -> bool:
    """Return whether a layer has exactly one active adapter, of plain LoRA, on a frozen base."""
    names = layer.active_adapters
    if len(names) != 1 or names[0] not in layer.lora_A:
        return False
    (name,) = names
    return (
        isinstance(layer.lora_dropout[name], nn.Identity)
        and name not in layer.lora_variant
        and layer.lora_A[name].bias is None
        and layer.lora_B[name].bias is None
        and not layer.get_base_layer().weight.requires_grad
    )


class _LowRank(torch.autograd.Function):
    """y = x Wᵀ + b + s (x Aᵀ) Bᵀ with W and b frozen, all of one dtype."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, s: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # N in
        with torch.autocast(x.device.type, enabled=False):
            inner = flat @ down.T  # N r
            # Of the final shape: some models (Gemma 3n) change outputs in place, which is
            # forbidden on a view that is made here.
            out = x.new_empty(*x.shape[:-1], weight.shape[0])
            rows = out.view(-1, weight.shape[0])  # N out
            if bias is None:
                torch.mm(flat, weight.T, out=rows)
            else:
                torch.addmm(bias, flat, weight.T, out=rows)
            rows.addmm_(inner, up.T, alpha=s)
        ctx.save_for_backward(flat, weight, down, up, inner)
        ctx.s = s
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, down, up, inner = ctx.saved_tensors
        grad_out = gradients[0].reshape(-1, gradients[0].shape[-1])
        needs_x, _, _, needs_down, needs_up, _ = ctx.needs_input_grad
        grad_x = grad_down = grad_up = None
        with torch.autocast(grad_out.device.type, enabled=False):
            grad_inner = (grad_out @ up).mul_(ctx.s)  # N r
            if needs_x:
                grad_x = (grad_out @ weight).addmm_(grad_inner, down)
                grad_x = grad_x.view(*gradients[0].shape[:-1], -1)
            if needs_down:
                grad_down = grad_inner.T @ flat
            if needs_up:
                grad_up = (grad_out.T @ inner).mul_(ctx.s)
        return grad_x, None, None, grad_down, grad_up, None

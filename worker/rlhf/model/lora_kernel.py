"""A LoRA layer's forward and backward with as few passes over memory as they need.

PEFT's own forward writes the low-rank part, its scaled copy and the sum each as a tensor of the
output's size, and autograd keeps more. Here the part is accumulated into the output in place, and
backward into the input's gradient. Layers that are more than a frozen linear map with one plain
adapter keep PEFT's forward.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn


def install(model: nn.Module) -> int:
    """Give every plain LoRA layer of a model this forward; return how many have it.

    Doing it again, as after a new adapter was added, changes nothing.
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
    """PEFT's LoRA layer over a linear map, but for its forward in the plain case.

    "Linear" in the name is what PEFT finds such layers by when it adds a later adapter.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the map of x with the active adapter's part; other cases are PEFT's."""
        if args or kwargs or self.disable_adapters or self.merged or not is_plain(self):
            original: Tensor = super().forward(x, *args, **kwargs)
            return original
        (name,) = self.active_adapters
        base, dtype = self.get_base_layer(), x.dtype
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
        found: Tensor = _LowRank.apply(  # type: ignore[no-untyped-call]
            x.to(dtype),
            base.weight.to(dtype),
            None if base.bias is None else base.bias.to(dtype),
            self.lora_A[name].weight.to(dtype),
            self.lora_B[name].weight.to(dtype),
            self.scaling[name],
        )
        return found


def is_plain(layer: Any) -> bool:
    """Say whether a layer has one active adapter, and nothing but its product to add."""
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
    """y = x Wᵀ + b + s (x Aᵀ) Bᵀ with W and b frozen; all of one dtype."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, s: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # N in
        with torch.autocast(x.device.type, enabled=False):
            inner = flat @ down.T  # N r
            out = nn.functional.linear(flat, weight, bias)  # N out
            out.addmm_(inner, up.T, alpha=s)
        ctx.save_for_backward(flat, weight, down, up, inner)
        ctx.s = s
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, down, up, inner = ctx.saved_tensors
        of_out = gradients[0].reshape(-1, gradients[0].shape[-1])
        wants_x, _, _, wants_down, wants_up, _ = ctx.needs_input_grad
        of_x = of_down = of_up = None
        with torch.autocast(of_out.device.type, enabled=False):
            of_inner = (of_out @ up).mul_(ctx.s)  # N r
            if wants_x:
                of_x = (of_out @ weight).addmm_(of_inner, down)
                of_x = of_x.view(*gradients[0].shape[:-1], -1)
            if wants_down:
                of_down = of_inner.T @ flat
            if wants_up:
                of_up = (of_out.T @ inner).mul_(ctx.s)
        return of_x, None, None, of_down, of_up, None
